"""The anchor's end of a container's network lives on whatever becomes of scrun-network."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scrun import wait
from scrun.lifecycle.anchor import engine_network
from scrun.lifecycle.anchor.engine_network import EngineNetwork
from scrun.lifecycle.process import fork
from scrun.lifecycle.process.loop import Loop


@pytest.fixture
def made(loop: Loop) -> Iterator[Callable[[], EngineNetwork]]:
    """Make one; the loop ends when it is lost, and ``why`` tells the reason."""
    networks: list[EngineNetwork] = []

    def make() -> EngineNetwork:
        plan: Any = {"namespace": "/proc/self/ns/net", "resolv_conf": "", "ports": [], "near": False}

        def lost(why: str) -> None:
            vars(one)["why"] = why
            loop.stop()

        one = EngineNetwork(loop, plan, patience=100, log=lambda *_: None, ready=lambda _: None, lost=lost)
        networks.append(one)
        return one

    yield make
    for one in networks:
        one.close()
    for pid in loop._ended:
        os.waitpid(pid, 0)


def program(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    (directory / "program").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "program").chmod(0o755)
    monkeypatch.setattr(engine_network, "PROGRAM", str(directory / "program"))


def ended_child(*arguments: Any, **options: Any) -> int:
    """A child that has ended before its parent goes on."""
    pid = child(*arguments, **options)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


child = fork.child


def test_one_that_ends_too_soon_is_replaced(
    made: Callable[[], EngineNetwork], loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, tmp_path, f"echo >>{tmp_path}/starts")
    monkeypatch.setattr(fork, "child", ended_child)
    one = made()
    one._told = b"link 0"
    assert one.renew({"/x/mounts/1": b"127.0.0.1 me"})
    one.begin(os.getpid())
    loop.run()
    assert vars(one)["why"] == "scrun-network was killed again and again"
    assert (tmp_path / "starts").read_text().count("\n") == engine_network._MOST_AT_ONCE


@pytest.mark.parametrize(("is_pipe", "words"), [(False, ["3", "4", "names"]), (True, ["3", "4"])])
def test_no_pipe_as_resolv_conf_is_awaited(
    is_pipe: bool,
    words: list[str],
    made: Callable[[], EngineNetwork],
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    program(monkeypatch, tmp_path, f'echo "$@" >>{tmp_path}/words')
    one = made()
    one._plan["resolv_conf"] = str(tmp_path / "resolv.conf")
    if is_pipe:
        os.mkfifo(tmp_path / "resolv.conf")
    else:
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    one.begin(os.getpid())
    loop.run()
    assert (tmp_path / "words").read_text().splitlines()[0].split() == words


def test_one_that_cannot_start_again_is_lost(
    made: Callable[[], EngineNetwork], loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, tmp_path, "exit")
    one = made()
    one.begin(os.getpid())

    def none(*_arguments: Any, **_options: Any) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(fork, "child", none)
    loop.run()
    assert vars(one)["why"] == "scrun-network can't be started again: Resource temporarily unavailable"


def test_what_was_kept_goes_on_after_a_sleep(
    made: Callable[[], EngineNetwork], loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    program(monkeypatch, tmp_path, f'echo "$@" >>{words}; exec sleep 100')
    one, kept = made(), wait.Kept()
    assert one.keep(kept) is None, "it isn't used"
    one.begin(os.getpid())
    with pytest.raises(wait.Busy):
        one.keep(kept)
    one._take_message(b"n", b"link \xff")
    state = one.keep(kept)
    assert state
    assert kept.descriptors == {one._namespace, one._control}
    assert one.children == {state["pid"]}
    one._channel.detach()
    one._is_open, one._namespace, one._control = False, -1, -1
    other = EngineNetwork(
        loop, one._plan, patience=100, log=print, ready=print, lost=print, kept=json.loads(json.dumps(state))
    )

    def look() -> None:
        if words.exists() and "again\n" in words.read_text():
            loop.stop()
        else:
            loop.after(0.02, look)

    os.kill(state["pid"], signal.SIGKILL)
    look()
    loop.run()
    assert other._told == b"link \xff"
    os.kill(other._pid, signal.SIGKILL)
    other.close()


def test_no_more_is_sent_than_has_room(
    made: Callable[[], EngineNetwork], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, tmp_path, "exec sleep 100")
    one = made()
    one._told = bytes(60_000)
    files = {f"/x/mounts/{number}": bytes(59_000) for number in range(8)}
    assert not one.renew(files)
    one.begin(os.getpid())
    os.kill(one._pid, 9)
    assert one.renew({"/x/mounts/0": bytes(59_000)})
    assert not one.renew({"/x/hosts": b""})


@pytest.mark.parametrize(
    ("sizes", "fit"), [([100, 50000, 100], True), ([7500] * 8, True), ([100] * 9, False), ([60001], False)]
)
def test_a_scrun_network_that_takes_over_has_room(
    sizes: list[int], fit: bool, made: Callable[[], EngineNetwork]
) -> None:
    files = {f"/a/bundle/mounts/{number}": bytes(size) for number, size in enumerate(sizes)}
    assert made().renew(files) == fit
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        ours.send(bytes(32768))  # what the network was
        for data in files.values() if fit else ():
            ours.send(b"f" + data)
