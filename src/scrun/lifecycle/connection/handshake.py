"""The handshake with a node's agent: both prove that they know the container's key, and say how far they have got.

::

    node    scrun\\0\\0\\1, its name, its nonce
    login                                      its nonce, mac("L")
    node    received, mac("N", received)
    login                                      received, mac("R", received)

Each proof is made of both nonces, so that one that was overheard is of no use for another connection. The letters keep
a proof of one side from being sent back as the other's. A connection for the container's network has another hello
(``scrun\\0\\1\\1``) and small letters, so that no proof counts for both kinds.
"""

from __future__ import annotations

import os

from scrun.lifecycle.connection import digest
from scrun.lifecycle.connection.frames import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Admit = Callable[[bytes, int], int | None]
    AdmitNetwork = Callable[[bytes], bool]

MAGIC = b"scrun\0\0\1"
NETWORK_MAGIC = b"scrun\0\1\1"
NAME, NONCE, COUNT = 16, 32, 8  # bytes
HELLO = len(MAGIC) + NAME + NONCE
PROOF = COUNT + digest.SIZE


class Refused(Exception):
    """The other side doesn't know the key, or isn't wanted; the connection is to be closed."""


class Handshake:
    """login's side, from the bytes that come to those that are to be sent.

    Args:
        key: the container's.
        admit: asked about an agent that has proved to know the key, by its name and by how many bytes it has taken in;
            the result is how many of its bytes were taken in here, or None for one that isn't wanted.
        admit_network: asked about an agent's connection for the network, in the same way; None where there is none.
    """

    def __init__(self, key: bytes, admit: Admit, admit_network: AdmitNetwork | None = None) -> None:
        self._key, self._admit, self._admit_network = key, admit, admit_network
        self._nonce = os.urandom(NONCE)
        self._came = b""
        self._about = b""  # the agent's name and both nonces
        self.name = b""  # of the agent, once it was admitted
        self.is_for_network = False
        self.received = 0  # by the agent

    @property
    def wanted(self) -> int:
        """How many more bytes are to come before there is something to say; 0 when the handshake is done."""
        if self.name:
            return 0
        return (PROOF if self._about else HELLO) - len(self._came)

    def take(self, data: bytes) -> bytes:
        """Take at most :attr:`wanted` bytes; the result is what is to be sent now.

        Raises:
            Refused: the connection is to be closed.
        """
        self._came += data
        if self.wanted > 0:
            return b""
        came, self._came = self._came, b""
        return self._answer_proof(came) if self._about else self._answer_hello(came)

    def _answer_hello(self, hello: bytes) -> bytes:
        self.is_for_network = hello.startswith(NETWORK_MAGIC) and self._admit_network is not None
        if not hello.startswith(MAGIC) and not self.is_for_network:
            raise Refused("it speaks another protocol")
        self._about = hello[len(MAGIC) :] + self._nonce
        return self._nonce + self._mac(b"L")

    def _answer_proof(self, proof: bytes) -> bytes:
        received = proof[:COUNT]
        if not digest.compare_digest(proof[COUNT:], self._mac(b"N", received)):
            raise Refused("it doesn't know the key")
        name, self.received = self._about[:NAME], int.from_bytes(received, "big")
        ours = self._admitted(name)
        if ours is None:
            raise Refused("it isn't known, or what it lacks isn't kept any more")
        self.name = name
        count = number(ours, COUNT)
        return count + self._mac(b"R", count)

    def _admitted(self, name: bytes) -> int | None:
        if self.is_for_network:
            return 0 if self._admit_network and self._admit_network(name) else None
        return self._admit(name, self.received)

    def _mac(self, letter: bytes, rest: bytes = b"") -> bytes:
        letter = letter.lower() if self.is_for_network else letter
        return digest.hmac_sha256(self._key, letter + self._about + rest)
