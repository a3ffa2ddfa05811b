"""The anchor, in a process of its own: what its creator, its stand-in and the container's standard error hear.

srun is a shell script; what prepares the container is played by the test, and there is nothing to be brought back.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

from scrun import wait
from scrun.errors import ContainerNotFound, ScrunError, SlurmError, WrongStatus
from scrun.lifecycle.anchor import anchor, effects, sleep, vigil, waiting
from scrun.lifecycle.anchor.end_effects import NOT_RUN
from scrun.lifecycle.container import client, owed
from scrun.lifecycle.container.directory import BACK, Container
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.process.loop import Loop
from scrun.lifecycle.worker import child

Message = Any  # as a test makes it
STARTED = 'echo "srun: launching StepId=42.3 on host n1, 1 tasks: 0" >&2; echo "srun: Node n1, 1 tasks started" >&2'
READY = {"nodes": "n1", "uid": 0, "tasks": 1, "job_environment": [], "staged": {}, "job_bundle": "/spool"}
READY |= {"job_rootfs": "/bundle/rootfs", "hold": False, "job": 42, "user": "root"}
READY |= {"runtime": {"kind": "crun", "why": "oci.conf names none"}, "init": "", "unconnected": "oci.conf names none"}


class Preparation:
    """In the place of the real one: does what the test sends over its channel."""

    cues: wire.Reader

    def __init__(self, loop: Loop, container: Container, **callbacks: Callable[..., None]) -> None:
        self._loop, self._record, self._callbacks = loop, container.record, callbacks
        self.stager = None

    def begin(self, _plan: Message) -> None:
        self._loop.watch(self.cues.descriptor, self._cue)

    def cancel(self, why: ScrunError) -> None:
        self._callbacks["failed"](why)

    def _cue(self) -> None:
        for cue in self.cues.read(anything) or ():
            if "ready" in cue:
                self._record.update(cue["ready"])
                self._callbacks["ready"]()
            elif "over" in cue:
                self._loop.let_be(self.cues.descriptor)
            elif "failed" in cue:
                self._callbacks["failed"](SlurmError(cue["failed"]))
            else:
                self._callbacks["tell"](cue)


class Rehearsed:
    """An anchor in a child, and the other ends of what it holds."""

    def __init__(
        self, container: Container, fork: Callable[..., int], srun: str, tmp_path: Path, start_limit: float
    ) -> None:
        self.container = container
        self.stderr = tmp_path / "stderr"
        (self.creator, creators), (self.standin, standins), (self.cues, theirs) = (wire.pair() for _ in range(3))
        self.from_creator, self.from_standin = wire.Reader(self.creator), wire.Reader(self.standin)
        self._srun = srun
        ours = (self.creator, self.standin, self.cues)

        def be_it() -> None:
            for descriptor in ours:
                os.close(descriptor)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(0, 1)
            os.dup2(os.open(self.stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            Preparation.cues = wire.Reader(theirs)
            vars(anchor)["Preparation"] = Preparation
            effects.START_LIMIT = start_limit
            loop = Loop()
            made = anchor.Anchor(loop, container, creators, standins, os.getppid())
            loop.when_quiet(wait.QUIET, lambda: sleep.fall_asleep(made))
            loop.run()

        self.pid = fork(be_it)
        for descriptor in (creators, standins, theirs):
            os.close(descriptor)

    def create(self, **changes: Any) -> None:
        """Send the plan."""
        record = {**self.container.record, "status": "creating", "srun": [self._srun]}
        plan = {
            "record": {name: value for name, value in record.items() if not name.startswith("pid")},
            "attached": False,
            "keep": False,
            "patience": 0,
            "queued_patience": 0,
            "log_levels": ["debug", "quiet"],
            "new_network_namespace": False,
            "network_hook": None,
            "terminal": False,
            "pid_file": "",
            "job": {},
            "step_environment": {},
            "environment": {"PATH": os.defpath},
            "args": ["/bin/true"],
            "args_error": "",
            "staging": {"network": "host", "gateways": []},
        }
        wire.send(self.creator, {"do": "create", "plan": plan | changes})

    def cue(self, message: Message) -> None:
        wire.send(self.cues, message)

    def created(self, **changes: Any) -> None:
        """Have it created, and ready to run."""
        self.create(**changes)
        self.cue({"ready": READY})
        assert self.from_creator.next(anything) == {"created": True}

    def start(self) -> Message | None:
        return client.ask(self.container, {"do": "start"})

    def status(self) -> int:
        """The exit status that the stand-in is told."""
        message = self.from_standin.next(anything)
        assert message
        assert message["do"] == "exit"
        return int(message["status"])


Fork = Callable[..., int]
Wait = Callable[[int], int]


@pytest.fixture
def rehearse(container: Container, fork: Fork, script: Callable[..., str], tmp_path: Path) -> Callable[..., Rehearsed]:
    """Be the creator of a container whose srun is that script, with so many seconds for start."""

    def make(srun: str, start_limit: float = 60) -> Rehearsed:
        return Rehearsed(container, fork, script(f"cd {tmp_path}\n{srun}"), tmp_path, start_limit)

    return make


Rehearse = Callable[..., Rehearsed]


def test_start_is_answered_when_the_process_runs(rehearse: Rehearse, exit_code: Wait) -> None:
    made = rehearse(f"{STARTED}; exit 137")
    made.created()
    assert made.start() == {"started": True}
    assert made.status() == 137
    assert exit_code(made.pid) == 0
    made.container.load()
    record = made.container.record
    assert (record["status"], record["exit_status"], record["step"]) == ("stopped", 137, "3")


@pytest.fixture
def asleep(rehearse: Rehearse, with_wait: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rehearsed:
    """An anchor that sleeps; its container ends with status 7 when there is a file `go`."""
    monkeypatch.setattr(vigil, "_FIRST_PAUSE", 0.05)
    made = rehearse(f"{STARTED}; timeout 90 sh -c 'until [ -e go ]; do sleep 0.02; done'; exit 7")
    made.created(pid_file=str(tmp_path / "pid"))
    made.cue({"over": True})
    assert made.start() == {"started": True}
    await_sleep(made)
    return made


def await_sleep(made: Rehearsed) -> None:
    deadline = time.monotonic() + 20
    place = Path(f"/proc/{made.pid}")
    while place.joinpath("exe").readlink().name != "scrun-wait" or place.joinpath("comm").read_text() == "scrun-wait\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sleeping_anchor_wakes_up_for_sruns_end(asleep: Rehearsed, exit_code: Wait, tmp_path: Path) -> None:
    assert Path(f"/proc/{asleep.pid}/cmdline").read_bytes().rstrip(b"\0") == b"scrun: anchor of box"
    (tmp_path / "go").touch()
    assert asleep.status() == 7
    assert exit_code(asleep.pid) == 0
    asleep.container.load()
    assert asleep.container.record["exit_status"] == 7


def test_a_sleeping_anchor_wakes_up_for_a_caller(asleep: Rehearsed, tmp_path: Path) -> None:
    assert client.ask(asleep.container, {"do": "ping"}) == {"waits_for": ""}
    assert b"wake.py" in Path(f"/proc/{asleep.pid}/cmdline").read_bytes()
    (tmp_path / "go").touch()
    assert asleep.status() == 7


def test_what_an_anchor_holds_outlives_its_sleep(asleep: Rehearsed, tmp_path: Path) -> None:
    def check() -> None:
        with open(tmp_path / "pid", "r+") as file, pytest.raises(OSError):  # noqa: PT011  either error (fcntl(2))
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for number in (0, 1):
            assert Path(f"/proc/{asleep.pid}/fd/{number}").readlink() == Path(os.devnull)

    check()
    client.ask(asleep.container, {"do": "ping"})
    check()
    (tmp_path / "go").touch()
    assert asleep.status() == 7


def test_a_removed_directory_wakes_a_sleeping_anchor(asleep: Rehearsed) -> None:
    shutil.rmtree(asleep.container.path)
    assert asleep.status() == 137
    assert "was removed, so that nobody could find the container" in asleep.stderr.read_text()


def test_a_killed_stand_in_wakes_a_sleeping_anchor(asleep: Rehearsed, exit_code: Wait) -> None:
    os.close(asleep.standin)
    assert exit_code(asleep.pid) == 0
    asleep.container.load()
    assert asleep.container.record["exit_status"] == 137


def test_a_late_failure_is_told_on_standard_error(rehearse: Rehearse, tmp_path: Path) -> None:
    waits = "timeout 30 sh -c 'until [ -e go ]; do sleep 0.02; done'; echo 'srun: error: Node n1 is down' >&2; exit 1"
    made = rehearse(waits, start_limit=0.1)
    made.created()
    assert made.start() == {"started": True}
    made.container.load()
    assert made.container.record["status"] == "running"
    (tmp_path / "go").touch()
    assert made.status() == NOT_RUN == 125
    assert made.stderr.read_text() == "scrun: the container's step did not start: Node n1 is down\n"


def test_a_start_that_fails_soon_is_told_once(rehearse: Rehearse) -> None:
    made = rehearse("echo 'srun: error: Node n1 is down' >&2; exit 1")
    made.created()
    with pytest.raises(SlurmError, match="the container's step did not start: Node n1 is down"):
        made.start()
    assert (made.status(), made.stderr.read_text()) == (125, "")


def test_a_container_may_wait_longer_than_create(rehearse: Rehearse) -> None:
    made = rehearse(f"{STARTED}; exit 0")
    made.create(patience=0.05)
    assert made.from_creator.next(anything) == {"created": True}
    assert made.start() == {"started": True}
    made.cue({"ready": READY})
    assert made.status() == 0


def test_without_a_limit_create_waits_for_the_job(rehearse: Rehearse) -> None:
    made = rehearse("exit 0")
    made.create(patience=0)
    made.cue({"waiting": "Resources"})
    made.cue({"ready": READY})
    assert [made.from_creator.next(anything), made.from_creator.next(anything)] == [
        {"waiting": "Resources"},
        {"created": True},
    ]


def test_create_waits_less_for_a_queued_job(rehearse: Rehearse) -> None:
    made = rehearse(f"{STARTED}; exit 0")
    made.container.record.update({"job": 7, "notices": True})
    made.create(patience=1000, queued_patience=0.05)
    made.cue({"waiting": "Resources"})
    assert made.from_creator.next(anything) == {"waiting": "Resources"}
    assert select.select([made.creator], [], [], 20)[0], "create waits on"
    assert made.from_creator.next(anything) == {"created": True}
    assert made.start() == {"started": True}
    assert "is queued and waiting for resources (Resources)" in made.stderr.read_text()
    made.cue({"ready": READY})
    assert made.status() == 0


def test_a_job_with_nodes_is_waited_for(rehearse: Rehearse) -> None:
    made = rehearse("exit 0")
    made.create(patience=1000, queued_patience=0.5)
    made.cue({"waiting": "Resources"})
    made.cue({"granted": "n1"})
    assert [made.from_creator.next(anything) for _ in "12"] == [{"waiting": "Resources"}, {"granted": "n1"}]
    assert not select.select([made.creator], [], [], 0.6)[0]
    made.cue({"failed": "no file"})
    assert made.from_creator.next(anything) == wire.failure(SlurmError("no file"))


def test_a_failure_during_create_leaves_only_its_error(rehearse: Rehearse, exit_code: Wait) -> None:
    made = rehearse("exit 0")
    made.create()
    made.cue({"failed": "the job was cancelled"})
    assert made.from_creator.next(anything) == wire.failure(SlurmError("the job was cancelled"))
    assert exit_code(made.pid) == 0
    assert (made.status(), made.stderr.read_text()) == (1, "")
    assert not os.path.exists(made.container.path)


def test_a_failure_after_create_is_a_line(
    rehearse: Rehearse,
) -> None:
    made = rehearse("exit 0")
    made.create(patience=0.05)
    assert made.from_creator.next(anything) == {"created": True}
    assert made.start() == {"started": True}
    made.cue({"failed": "the job was cancelled"})
    assert made.status() == 125
    assert made.stderr.read_text() == "scrun: the job was cancelled\n"


def test_a_create_that_is_killed_leaves_nothing(rehearse: Rehearse, exit_code: Wait) -> None:
    made = rehearse("exit 0")
    made.create()
    os.close(made.creator)
    assert exit_code(made.pid) == 0
    assert not os.path.exists(made.container.path)


def test_a_kill_in_the_queue_is_silent(rehearse: Rehearse) -> None:
    made = rehearse("exit 0")
    made.create(patience=0.05)
    assert made.from_creator.next(anything) == {"created": True}
    made.start()
    assert client.ask(made.container, {"do": "kill", "signal": 9})
    assert (made.status(), made.stderr.read_text()) == (137, "")


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize(("number", "status"), [(15, 143), (10, 138), (9, 137)])
def test_a_signal_before_the_start_ends_the_container(
    number: int, status: int, prepared: bool, rehearse: Rehearse
) -> None:
    made = rehearse("exit 0")
    made.create(patience=0.05)
    if prepared:
        made.cue({"ready": READY})
    assert made.from_creator.next(anything) == {"created": True}
    request: Message = {"do": "kill", "signal": number}
    assert client.ask(made.container, request) == {"sent": number}
    assert made.status() == status


@pytest.mark.parametrize("number", [0, 17, 18, 23, 28])
def test_a_harmless_signal_ends_no_created_container(number: int, rehearse: Rehearse) -> None:
    made = rehearse(f"{STARTED}; exit 7")
    made.created()
    request: Message = {"do": "kill", "signal": number}
    assert client.ask(made.container, request) == {"sent": number}
    assert made.start() == {"started": True}
    assert made.status() == 7


def test_an_illegal_event_is_logged_and_ignored(rehearse: Rehearse) -> None:
    made = rehearse(f"{STARTED}; exit 7")
    made.created()
    made.cue({"ready": READY})
    assert client.ask(made.container, {"do": "ping"}) == {"waits_for": ""}
    assert made.start() == {"started": True}
    assert made.status() == 7
    assert "internal error: prepared can't be where " in Path(made.container.path, "anchor.log").read_text()


def test_a_created_container_is_neither_paused_nor_resumed(rehearse: Rehearse) -> None:
    made = rehearse("exit 0")
    made.created()
    with pytest.raises(WrongStatus, match="cannot pause container 'box': container not running: it is created"):
        client.ask(made.container, {"do": "pause"})
    with pytest.raises(WrongStatus, match="cannot resume container 'box': container not paused: it is created"):
        client.ask(made.container, {"do": "resume"})
    assert client.ask(made.container, {"do": "delete"}) == {"ended": True, "lost": ""}
    assert made.status() == 137


def test_killing_the_stand_in_ends_the_container(rehearse: Rehearse, exit_code: Wait) -> None:
    made = rehearse(f"sleep 1000 & trap 'kill $!; exit 0' TERM; {STARTED}; wait")
    made.created()
    assert made.start() == {"started": True}
    made.container.load()
    step = made.container.record["step_pid"]
    os.close(made.standin)
    assert exit_code(made.pid) == 0
    made.container.load()
    assert (made.container.record["status"], made.container.record["exit_status"]) == ("stopped", 137)
    assert processes.start_time(step) == 0


def _stage_out_for_ever(_work: str, channel: int, _container: Container) -> None:
    while os.read(channel, 65536):
        pass


@pytest.mark.parametrize("kills", ["", "the stand-in", "the container", "it at once"])
def test_a_kill_waits_for_no_files(kills: str, rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "do_work", _stage_out_for_ever)
    monkeypatch.setattr(owed, "LET_GO", 0.05)
    made = rehearse("exit 0")
    made.create(script="", lua="")
    made.cue({"ready": {**READY, "hold": True, "stage_out_owed": True}})
    assert made.from_creator.next(anything) == {"created": True}
    for number in {"": (15,), "the stand-in": (15,), "the container": (15, 9), "it at once": (9,)}[kills]:
        request: Message = {"do": "kill", "signal": number}
        assert client.ask(made.container, request) == {"sent": number}
    if kills == "the stand-in":
        os.close(made.standin)
    elif kills:
        assert made.status() == (137 if kills == "it at once" else 143)
    made.container.load()
    while made.container.record["status"] != ("stopped" if kills else "created"):
        made.container.load()
    assert made.container.record["stage_out_owed"]
    assert "stage_out goes on" in str(client.ask(made.container, {"do": "ping"}))


@pytest.mark.parametrize("back", ["", "not", "but the disk is full"])
def test_delete_waits_for_files_but_for_no_job(
    back: str, rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch, exit_code: Wait, tmp_path: Path
) -> None:
    goes_on = tmp_path / "goes on"

    def stage_out(_work: str, channel: int, container: Container) -> None:
        if back != "not":
            container.mark(BACK)
        wire.send(channel, {"files_back": True})
        while not goes_on.exists():
            time.sleep(0.01)
        wire.send(channel, {"staged_out": True})
        os.read(channel, 65536)

    monkeypatch.setattr(child, "do_work", stage_out)
    monkeypatch.setattr(owed, "DELETE", 60)
    if back == "but the disk is full":
        monkeypatch.setattr(waiting, "DELETED", "/proc/deleted")  # no such file can be made
    made = rehearse("exit 0")
    made.create(script="", lua="")
    made.cue({"ready": {**READY, "stage_out_owed": True, "staged": {"node_parent": "/tmp"}}})
    assert made.from_creator.next(anything) == {"created": True}
    assert client.ask(made.container, {"do": "kill", "signal": 15}) == {"sent": 15}
    assert made.status() == 143
    if not back:
        assert client.ask(made.container, {"do": "delete"}) == {"deleted": True}
        with pytest.raises(ContainerNotFound):
            Container.open(os.path.dirname(made.container.path), made.container.id)
        assert os.path.exists(made.container.path), "its anchor has still to give the job back"
        goes_on.touch()
    else:
        threading.Timer(0.3, goes_on.touch).start()
        assert client.ask(made.container, {"do": "delete"}) == {"ended": True, "lost": ""}
        assert goes_on.exists()
    assert exit_code(made.pid) == 0
    assert not os.path.exists(made.container.path)


def test_several_tasks_may_not_share_a_terminal(rehearse: Rehearse) -> None:
    made = rehearse("exit 0")
    made.create(terminal=True, console_socket="/nosuch", console_size=None)
    made.cue({"ready": {**READY, "tasks": 2}})
    message = made.from_creator.next(anything)
    assert message
    assert message["error"] == "UsageError"
    assert message["message"].startswith("2 tasks can't share a terminal")


def test_a_container_without_its_directory_ends_saying_why(rehearse: Rehearse, exit_code: Wait) -> None:
    anchor = rehearse("")
    anchor.created()
    Path(anchor.container.path, "anchor.log").unlink(missing_ok=True)
    Path(anchor.container.path, "another").touch()
    Path(anchor.container.path, "another").unlink()
    assert client.ask(anchor.container, {"do": "ping"}) == {"waits_for": ""}, "its record is there"
    shutil.rmtree(anchor.container.path)
    assert anchor.status() == 137
    assert exit_code(anchor.pid) == 0
    assert not os.path.exists(anchor.container.path)
    said = anchor.stderr.read_text()
    assert said.startswith(f"scrun: {anchor.container.path} was removed, so that nobody could find the container")
    assert said.count("\n") == 1
