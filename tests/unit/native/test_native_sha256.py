"""scrun-node's own SHA-256 and HMAC against Python's."""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import SOURCES


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The two files that compute them, as a library."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build scrun-node with")
    path: Path = tmp_path_factory.mktemp("library") / "sha256.so"
    files = [SOURCES / "sha256.c", SOURCES / "text.c"]
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", path, *files], check=True)
    return ctypes.CDLL(str(path))


PIECES = st.lists(st.binary(max_size=150), max_size=4)


@given(pieces=PIECES)
def test_sha256_is_hashlibs(library: ctypes.CDLL, pieces: list[bytes]) -> None:
    state, digest = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
    library.sha256_begin(state)
    for piece in pieces:
        library.sha256_add(state, piece, ctypes.c_size_t(len(piece)))
    library.sha256_end(state, digest)
    assert digest.raw == hashlib.sha256(b"".join(pieces)).digest()


@given(key=st.binary(min_size=32, max_size=32), pieces=PIECES)
def test_hmac_is_hmacs(library: ctypes.CDLL, key: bytes, pieces: list[bytes]) -> None:
    state, digest = ctypes.create_string_buffer(512), ctypes.create_string_buffer(32)
    library.hmac_begin(state, key)
    for piece in pieces:
        library.sha256_add(state, piece, ctypes.c_size_t(len(piece)))  # its first member is the inner hash
    library.hmac_end(state, digest)
    assert digest.raw == hmac.digest(key, b"".join(pieces), hashlib.sha256)


@pytest.mark.parametrize("place", range(32))
def test_one_different_bit_is_seen(library: ctypes.CDLL, place: int) -> None:
    a = bytes(32)
    assert library.same_bytes(a, a, ctypes.c_size_t(32))
    assert not library.same_bytes(a, bytes(place) + b"\1" + bytes(31 - place), ctypes.c_size_t(32))
