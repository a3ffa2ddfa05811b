"""state, start and delete from the caller's side: what they say and do when no anchor is there to be asked."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import scrun.slurm
from scrun import OCI_VERSION, dispatch, verbs
from scrun.errors import ContainerNotFound, SlurmUnreachable, UsageError, WrongStatus
from scrun.grammar import COMMANDS, GLOBAL_OPTIONS, NOT_SUPPORTED, Call
from scrun.lifecycle.container import client
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import delete, pause, resume, start, state
from scrun.lifecycle.recovery import debtor
from scrun.log import Log


@pytest.fixture
def left(container: Container) -> Container:
    """A container that neither an anchor nor a stand-in holds any more."""
    fcntl.flock(container.descriptor, fcntl.LOCK_UN)
    return container


def test_state_is_the_specifications_with_runcs_additions(container: Container) -> None:
    assert state.state_of(container) == {
        "ociVersion": OCI_VERSION,
        "id": "box",
        "pid": os.getpid(),
        "status": "created",
        "bundle": "/bundle",
        "rootfs": "/bundle/rootfs",
        "created": "2026-01-02T03:04:05.000000006Z",
        "owner": "alice",
        "annotations": {"a": "b"},
    }


@pytest.mark.parametrize("written", ["creating", "created", "running", "paused"])
def test_a_container_without_its_process_counts_as_stopped(written: str, container: Container) -> None:
    container.record.update({"status": written, "pid_started": 1})
    found = state.state_of(container)
    assert (found["status"], found["pid"]) == ("stopped", 0)


@pytest.mark.parametrize("written", ["creating", "running", "paused", "stopped"])
def test_only_what_was_created_can_be_started(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"cannot start container 'box': it is {written}"):
        start.start_container(container)


def test_starting_without_an_anchor_says_what_to_do(container: Container) -> None:
    with pytest.raises(WrongStatus, match="its anchor is gone: delete it and create it again"):
        start.start_container(container)


@pytest.mark.parametrize("written", ["creating", "created", "paused", "stopped"])
def test_only_what_runs_can_be_paused(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"cannot pause container 'box': container not running: it is {written}"):
        pause.pause_container(container)


@pytest.mark.parametrize("written", ["creating", "created", "running", "stopped"])
def test_only_what_is_paused_can_be_resumed(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"cannot resume container 'box': container not paused: it is {written}"):
        resume.resume_container(container)


@pytest.mark.parametrize(("run", "written"), [(pause.pause_container, "running"), (resume.resume_container, "paused")])
def test_nothing_is_paused_or_resumed_without_an_anchor(
    run: Callable[[Container], None], written: str, container: Container
) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=r"container not (running|paused): it is without its anchor$"):
        run(container)


@pytest.mark.parametrize("written", ["creating", "created", "running", "paused", "stopped"])
def test_delete_removes_a_container_in_any_status(written: str, left: Container, tmp_path: Path) -> None:
    left.record["status"] = written
    left.save()
    said: list[str] = []
    delete.delete_container(Container.open(str(tmp_path / "root"), "box"), lambda _level, text: said.append(text))
    assert (os.listdir(tmp_path / "root"), said) == ([], [])


def _call(command: str, root: Path, *arguments: str, **options: object) -> Call:
    given = {option.name: None if option.metavar else False for option in COMMANDS[command].options}
    everywhere = {option.name: None if option.metavar else False for option in GLOBAL_OPTIONS}
    return Call(command, everywhere | {"root": str(root)}, given | options, arguments)


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}"])
@pytest.mark.parametrize("force", [False, True])
def test_delete_removes_a_container_whose_record_is_damaged(
    damaged: str, force: bool, left: Container, tmp_path: Path
) -> None:
    (Path(left.path) / "state.json").write_text(damaged)
    dispatch.perform(_call("delete", tmp_path / "root", "box", force=force), Log())
    assert os.listdir(tmp_path / "root") == []


def test_deleting_an_unknown_container_needs_force(tmp_path: Path) -> None:
    dispatch.perform(_call("delete", tmp_path, "box", force=True), Log())
    with pytest.raises(ContainerNotFound):
        dispatch.perform(_call("delete", tmp_path, "box"), Log())


def _fitting(pattern: str, root: Path) -> Call:
    return _call("delete", root, pattern, regex=True)


def test_regex_selects_exactly_the_matching_containers(tmp_path: Path) -> None:
    for name in ("web-1", "web-2", "db", ".web-3", "web 4"):
        (tmp_path / name).mkdir()
    acted: list[str] = []
    verbs.each(_fitting("^web|e.3", tmp_path), Log(), acted.append)
    assert acted == ["web-1", "web-2"]
    verbs.each(_fitting(".", tmp_path / "nosuch"), Log(), acted.append)
    assert acted == ["web-1", "web-2"]


def test_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    acted: list[str] = []

    def act(name: str) -> None:
        acted.append(name)
        if name != "c":
            raise WrongStatus(f"{name} is stopped")

    log = tmp_path / "log"
    with pytest.raises(WrongStatus, match="b is stopped"):
        verbs.each(_fitting("^.$", tmp_path), Log(str(log)), act)
    assert acted == ["a", "b", "c"]
    assert "a is stopped" in log.read_text()
    assert "b is stopped" not in log.read_text()  # it is told at the top


def test_a_regular_expression_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression: "):
        verbs.each(_fitting("(", tmp_path), Log(), lambda _name: None)


def test_the_conf_option_is_what_slurm_reads(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.chdir(tmp_path)
    call = _call("state", tmp_path / "root", "box")
    call.globals["f"] = "other.conf"
    dispatch.perform(call, Log())
    assert os.environ["SLURM_CONF"] == str(tmp_path / "other.conf")
    assert capsys.readouterr().out.startswith('{"ociVersion": ')


@pytest.mark.parametrize("command", [*COMMANDS, *NOT_SUPPORTED])
def test_every_command_has_its_operation(command: str) -> None:
    assert callable(import_module(f"scrun.verbs.{command.replace(' ', '_')}").perform)


def test_delete_waits_until_nobody_else_holds_the_container(
    container: Container, tmp_path: Path, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    def remove() -> int:
        os.close(container.descriptor)
        delete.delete_container(Container.open(str(tmp_path / "root"), "box"), print)
        return 7

    pid = fork(remove)
    container.record["exit_status"] = 5
    container.save()  # whoever holds it can still write
    fcntl.flock(container.descriptor, fcntl.LOCK_UN)
    assert exit_code(pid) == 7
    assert os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("silent", [True, False], ids=["an anchor that hangs", "what stays when its anchor has gone"])
def test_delete_ends_an_idle_holder_of_the_container(
    silent: bool,
    container: Container,
    tmp_path: Path,
    fork: Callable[..., int],
    exit_code: Callable[[int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client.ask, "__kwdefaults__", {"patience": 0.05, "silence": 0.05})
    monkeypatch.setattr(delete, "SILENCE", 0.05)
    monkeypatch.setattr(delete, "TO_GO", 60.0 if silent else 0.05)
    if silent:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(container.child("anchor.sock"))
        listening.listen()
    hanging = fork(signal.pause)
    if silent:
        listening.close()
    opened = Container.open(str(tmp_path / "root"), "box")
    os.close(container.descriptor)
    looking_on = fork(signal.pause)  # it has the directory open, and no lock of it
    said: list[str] = []
    delete.delete_container(opened, lambda _level, text: said.append(text))
    container.descriptor = opened.descriptor  # for the fixture
    assert os.listdir(tmp_path / "root") == []
    assert exit_code(hanging) == -signal.SIGKILL
    assert len(said) == 1
    assert said[0].startswith(f"processes {hanging} of container 'box' did nothing for ")
    assert os.waitpid(looking_on, os.WNOHANG) == (0, 0)


def _unexpected(level: str, text: str) -> None:
    pytest.fail(f"{level}: {text}")


def test_delete_has_what_was_stopped_go_on(
    container: Container,
    tmp_path: Path,
    fork: Callable[..., int],
    exit_code: Callable[[int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delete, "TO_GO", 0.05)

    def stop() -> int:
        os.kill(os.getpid(), signal.SIGSTOP)
        return 7

    stopped = fork(stop)
    os.waitpid(stopped, os.WUNTRACED)
    opened = Container.open(str(tmp_path / "root"), "box")
    os.close(container.descriptor)
    delete.delete_container(opened, _unexpected)
    container.descriptor = opened.descriptor  # for the fixture
    assert exit_code(stopped) == 7
    assert os.listdir(tmp_path / "root") == []


class OutOfReach:
    """In the place of scrun.slurm.control, which needs libslurm: slurmctld is down until a file says otherwise."""

    def __init__(self, is_up: Path) -> None:
        self.is_up = is_up

    def cancel(self, job: int) -> None:
        if not self.is_up.exists():
            raise SlurmUnreachable("slurmctld can't be reached")
        self.is_up.write_text(str(job))


@pytest.fixture
def is_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """slurmctld can be reached when that file is there; it has the job that was cancelled last then."""
    slurm = OutOfReach(tmp_path / "is up")
    monkeypatch.setitem(sys.modules, "scrun.slurm.control", slurm)
    monkeypatch.setattr(scrun.slurm, "control", slurm, raising=False)
    monkeypatch.setattr(debtor, "FIRST_PAUSE", 0.01)
    return slurm.is_up


def test_a_delete_during_an_outage_leaves_a_debtor(
    left: Container, tmp_path: Path, is_up: Path, subreaper: None
) -> None:
    left.record.update({"status": "running", "job": 7, "job_owned": True})
    left.save()
    debtors = []
    for _ in range(2):
        one = Container.open(str(tmp_path / "root"), "box")
        with pytest.raises(SlurmUnreachable, match="scrun tries again until slurmctld answers"):
            delete.delete_container(one, print)
        os.close(one.descriptor)
        left.load()
        debtors.append(left.record["debtor"][0])
    assert debtors[0] == debtors[1]
    is_up.touch()
    os.waitpid(debtors[0], 0)
    assert (is_up.read_text(), os.listdir(tmp_path / "root")) == ("7", [])


@pytest.mark.parametrize(
    ("named", "path"),
    [("/a", "/a"), ("/a:b", "/a:b"), ("file:/a", "/a"), ("journald:x", ""), ("syslog:x", "")],
)
def test_cruns_other_log_targets_are_no_files(named: str, path: str) -> None:
    assert dispatch._log_file(named) == path
