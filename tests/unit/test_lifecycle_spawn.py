"""The two processes that stay: a create that comes to nothing leaves neither of them, nor the container's directory.

No job is asked for here: the hook script is loaded first, and it is missing. With or without pyslurm the end is the
same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

from scrun.errors import ScrunError
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork, wire
from scrun.lifecycle.process.loop import Loop
from scrun.lifecycle.process.pid_file import write_pid_file
from scrun.lifecycle.spawn import spawn


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[Container]:
    """A container as create has it when it forks."""
    container = Container.claim(str(tmp_path / "root"), "box")
    yield container
    os.close(container.descriptor)


def _standin_status() -> int:
    """The exit status of the one child that there is."""
    status = os.waitstatus_to_exitcode(os.wait()[1])
    with pytest.raises(ChildProcessError):
        os.wait()
    return status


def _plan(**changed: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": "box",
        "status": "creating",
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": "",
        "owner": "",
    }
    record |= {"annotations": {}, "environment": {}}
    plan = {
        "record": record,
        "patience": 0,
        "queued_patience": 0,
        "log_levels": ["debug", "quiet"],
        "attached": False,
        "new_network_namespace": False,
        "network_hook": None,
        "job": {},
        "step_environment": {},
        "script": "/nosuch/scrun.lua",
    }
    return plan | {"lua": "5.4", "staging": {}} | changed


@pytest.mark.parametrize("new_network_namespace", [False, True])
def test_a_failed_create_says_why_and_leaves_nothing(new_network_namespace: bool, claimed: Container) -> None:
    anchor = spawn(claimed)
    wire.send(anchor, {"do": "create", "plan": _plan(new_network_namespace=new_network_namespace)})
    reader = wire.Reader(anchor)
    answers = []
    while (message := reader.next(anything)) is not None:
        answers.append(message)
    os.close(anchor)
    with pytest.raises(ScrunError, match=r"scrun\.lua|pyslurm|libslurm"):
        wire.raise_failure(answers[-1])
    assert _standin_status() == 1
    assert not Path(claimed.path).exists()


@pytest.mark.parametrize("message", [None, {"do": "abort"}])
def test_a_killed_or_interrupted_create_leaves_nothing(message: dict[str, Any] | None, claimed: Container) -> None:
    anchor = spawn(claimed)
    with socket.socket(fileno=anchor) as creator:
        if message:
            wire.send(anchor, message)
        else:
            creator.shutdown(socket.SHUT_WR)  # what the anchor sees of a create that is killed
        while wire.Reader(anchor).next(anything) is not None:
            pass
    assert _standin_status() == 1
    assert not Path(claimed.path).exists()


@pytest.mark.parametrize("is_held", [False, True], ids=["may be removed", "stays"])
def test_an_anchor_sleeps_if_its_modules_stay(
    is_held: bool, claimed: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loop, "when_quiet", lambda *_: (tmp_path / "may sleep").touch())
    lock = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    monkeypatch.setattr(fork, "kept_open", {lock} if is_held else set())
    os.close(spawn(claimed))
    assert _standin_status() == 1
    assert (tmp_path / "may sleep").exists() == is_held
    os.close(lock)


def test_the_locked_pid_file_has_only_digits(
    tmp_path: Path, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    import fcntl

    path = tmp_path / "pid"
    path.write_text("a much longer text\n")
    descriptor = write_pid_file(str(path), 4242)

    def lock() -> int:
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return 7
        return 0

    assert exit_code(fork(lock)) == 7
    assert path.read_text() == "4242"  # only now: a process that closes the file once more loses its lock (fcntl(2))
    os.close(descriptor)


def test_an_unwritable_pid_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScrunError, match=f"can't write the pid file {tmp_path}: Is a directory"):
        write_pid_file(str(tmp_path), 1)
