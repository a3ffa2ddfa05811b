"""The start of a container's step: the small files that changed, and who hears that they are renewed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import SlurmError, StagingError
from scrun.lifecycle.anchor import launch
from scrun.lifecycle.container import network
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop
from scrun.lifecycle.worker import child

Message = Any  # as a test makes it
PLAN: Any = {"staging": {"network": network.HOST, "gateways": []}}
NEW, OLD = 907060870, 1  # CRC-32 of "hello", and of something else


@pytest.fixture
def changed(container: Container, tmp_path: Path) -> Container:
    """A container with a small file on its node that is another by now."""
    (tmp_path / "hosts").write_text("hello")
    texts = [["/tmp/scrun-0/1-box/mounts/0", str(tmp_path / "hosts"), "/etc/hosts", OLD]]
    container.record.update({"staged": {"texts": texts, "node_parent": "/tmp"}, "uid": os.getuid()})
    return container


@pytest.fixture
def renewed(
    until_a_child_has_gone: Loop, changed: Container, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, list[tuple[str, str]]]]:
    """Have a worker say these messages: how often it was done, and what was logged."""

    def renew(*messages: Message) -> tuple[int, list[tuple[str, str]]]:
        def say(_work: str, channel: int, _container: Container) -> None:
            for message in messages:
                wire.send(channel, message)

        monkeypatch.setattr(child, "do_work", say)
        done: list[bool] = []
        logged: list[tuple[str, str]] = []

        def log(level: str, message: str) -> None:
            logged.append((level, message))

        launch.renew_files(until_a_child_has_gone, changed, PLAN, log=log, done=lambda: done.append(True))
        assert done == [], "not before the nodes have them"
        until_a_child_has_gone.run()
        return len(done), logged

    return renew


Renewed = Callable[..., tuple[int, list[tuple[str, str]]]]


def test_a_container_with_unchanged_files_starts_at_once(loop: Loop, changed: Container) -> None:
    changed.record["staged"]["texts"][0][3] = NEW
    done: list[bool] = []
    launch.renew_files(loop, changed, PLAN, log=lambda *_: None, done=lambda: done.append(True))
    assert done == [True]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # there is nothing for a worker to do


def test_it_starts_when_its_node_has_current_files(renewed: Renewed, changed: Container) -> None:
    assert renewed({"renewed": {"0": NEW}}) == (1, [])
    assert changed.record["staged"]["texts"][0][3] == NEW


def test_it_starts_although_files_cannot_be_renewed(renewed: Renewed, changed: Container) -> None:
    said = "files that have changed since create stay as they were: n1: no space left"
    assert renewed(wire.failure(StagingError("n1: no space left"))) == (1, [("info", said)])
    assert changed.record["staged"]["texts"][0][3] == OLD


def test_a_silent_worker_does_not_prevent_the_start(renewed: Renewed) -> None:
    assert renewed() == (1, [])


def test_it_starts_only_once_whatever_the_worker_says(renewed: Renewed) -> None:
    assert renewed({"renewed": {"0": NEW}}, wire.failure(StagingError("too late"))) == (1, [])


UNSPECIFIED = "the container's step did not start: Application launch failed: Unspecified error"


@pytest.mark.parametrize(
    ("error", "bundle", "hint"),
    [
        (UNSPECIFIED, "/scripts", ": does n1 see a bundle at /scripts, which scrun.lua named (slurm.set_bundle_path)?"),
        (UNSPECIFIED, "/bundle", ": slurmd's log on n1 says why; see scrun doctor --node n1"),
        (UNSPECIFIED, "/bundle/staged", ": slurmd's log on n1 says why; see scrun doctor --node n1"),
        ("the container's step did not start: Node n1 is down", "/scripts", ""),
    ],
)
def test_an_error_without_words_says_where_to_look(error: str, bundle: str, hint: str) -> None:
    record = {"job_bundle": bundle, "bundle": "/bundle", "staged": {"bundle": "/bundle/staged"}, "nodes": "n1"}
    assert str(launch.not_started(record, SlurmError(error))) == error + hint  # type: ignore[arg-type]
