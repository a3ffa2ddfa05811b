"""The anchor's part of a container's network: what it leaves to scrun-network."""

from __future__ import annotations

import os
import socket

import pytest

from scrun.lifecycle.anchor.engine_network import EngineNetwork
from scrun.lifecycle.process.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.plan import NetworkPlan

PLAN: NetworkPlan = {"namespace": f"/proc/{os.getpid()}/ns/net", "resolv_conf": "", "ports": [], "near": False}


def network() -> EngineNetwork:
    return EngineNetwork(
        Loop(), PLAN, patience=1.0, log=lambda _level, _line: None, ready=lambda _links: None, lost=lambda _why: None
    )


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([100, 50000, 100], True),
        ([12500] * 8, True),
        ([12500] * 9, False),
        ([60001], False),
        ([60000] * 5, False),
    ],
)
def test_small_files_go_the_networks_way_where_its_socket_holds_them(sizes: list[int], fit: bool) -> None:
    files = {f"/a/bundle/mounts/{number}": bytes(size) for number, size in enumerate(sizes)}
    assert network().renew(files) == fit
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        ours.send(bytes(32768))  # what the network was, for a scrun-network that takes over
        for data in files.values() if fit else ():
            ours.send(b"f" + data)


def test_other_files_do_not() -> None:
    assert not network().renew({"/a/bundle/config.json": b"{}"})
