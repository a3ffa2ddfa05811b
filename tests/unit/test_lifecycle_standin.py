"""The stand-in: exits as the container did, passes signals on, and ends the job when the anchor is gone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

import scrun.slurm
from scrun import wait
from scrun.errors import SlurmUnreachable
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork as fork_module
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.recovery import debtor
from scrun.lifecycle.standin import podman_view, standin

Fork = Callable[..., int]
Wait = Callable[[int], int]


@pytest.fixture(params=["in Python", "asleep"], autouse=True)
def mode(request: pytest.FixtureRequest) -> str:
    """Whether scrun-wait takes the stand-in's place as soon as there is nothing to do."""
    if request.param == "asleep":
        request.getfixturevalue("with_wait")
    return str(request.param)


# A process that scrun-wait has started anew doesn't have what a test puts in the place of libslurm.
in_python = pytest.mark.parametrize("mode", ["in Python"], indirect=True)


class Rehearsed:
    """A stand-in in a child, the anchor's end of its channel, and a process in the place of the anchor."""

    def __init__(self, fork: Fork, container: Container) -> None:
        self.anchor = fork(signal.pause)
        self.channel, theirs = wire.pair()

        def be_standin() -> int:
            os.close(self.channel)
            return standin.run(theirs, container, self.anchor)

        self.pid = fork(be_standin)
        os.close(theirs)
        self.reader = wire.Reader(self.channel)

    def tell(self, message: dict[str, Any]) -> None:
        assert wire.send(self.channel, message)

    def lose_anchor(self) -> None:
        """What a SIGKILL of the anchor is to the stand-in."""
        os.kill(self.anchor, signal.SIGKILL)
        os.close(self.channel)


PLACES = {
    "in the machine's namespaces": None,
    "in a new network namespace": {"pid": False, "network": True},
    "in a new pid namespace": {"pid": True, "network": False},
    "in both": {"pid": True, "network": True},
}


@pytest.fixture(params=PLACES)
def rehearsed(request: pytest.FixtureRequest, fork: Fork, container: Container, subreaper: None) -> Rehearsed:
    """A stand-in, before and after it moved to namespaces of its own."""
    made = Rehearsed(fork, container)
    if where := PLACES[request.param]:
        _move(made, **where)
    return made


@pytest.fixture(params=[False, True], ids=["", "in a new pid namespace"])
def ready(request: pytest.FixtureRequest, fork: Fork, container: Container, subreaper: None) -> Rehearsed:
    """A stand-in that has its signals set up: it answers only then."""
    made = Rehearsed(fork, container)
    _move(made, pid=request.param, network=True)
    return made


def _move(standin: Rehearsed, *, pid: bool = False, network: bool = True) -> None:
    standin.tell({"do": "new namespaces", "pid": pid, "network": network, "hook": None})
    answer = standin.reader.next(anything)
    assert answer is not None
    assert answer["answer"] == "" or "network namespace" in answer["answer"]
    assert pid or answer["pid"] == 0
    if answer["pid"]:  # a plain user can't have one
        assert os.waitpid(standin.pid, 0)[1] == 0
        standin.pid = answer["pid"]


def test_it_leads_its_own_pid_namespace(fork: Fork, exit_code: Wait, container: Container, subreaper: None) -> None:
    made = Rehearsed(fork, container)
    first = made.pid
    _move(made, pid=True, network=False)
    if made.pid == first:
        pytest.skip("this user may not make a pid namespace")
    (numbers,) = re.findall(r"^NSpid:(.*)", Path(f"/proc/{made.pid}/status").read_text(), re.MULTILINE)
    assert numbers.split()[-2:] == [str(made.pid), "1"]
    assert os.getpgid(made.pid) == os.getsid(made.pid) == made.pid
    made.tell({"do": "exit", "status": 7})
    assert exit_code(made.pid) == 7


@pytest.mark.parametrize("status", [0, 1, 7, 125, 137, 255])
def test_it_exits_with_the_containers_status(status: int, fork: Fork, exit_code: Wait, container: Container) -> None:
    made = Rehearsed(fork, container)
    made.tell({"do": "exit", "status": status})
    assert exit_code(made.pid) == status


def hook(script: str, timeout: int = 0) -> dict[str, Any]:
    """One that runs a shell script, whose arguments are its own."""
    args = ["setkey", "-c", script, "sh", "an argument"]
    return {
        "path": "/bin/sh",
        "args": args,
        "timeout": timeout,
        "oci_version": "1.1.0",
        "bundle": "/bundle",
    }


def run_hook(made: Rehearsed, hook: dict[str, Any]) -> str:
    made.tell({"do": "new namespaces", "pid": False, "network": True, "hook": hook})
    message = made.reader.next(anything)
    assert message
    return str(message["answer"])


def _await_sleep(pid: int) -> None:
    """Wait until scrun-wait is in the process's place."""
    deadline = time.monotonic() + 20
    place = Path(f"/proc/{pid}")
    # Its name until it has given itself the one that it is told.
    while place.joinpath("exe").readlink().name != "scrun-wait" or place.joinpath("comm").read_text() == "scrun-wait\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["asleep"], indirect=True)
def test_asleep_it_has_its_title_and_wakes_up(fork: Fork, exit_code: Wait, container: Container) -> None:
    made = Rehearsed(fork, container)
    _await_sleep(made.pid)
    words = Path(f"/proc/{made.pid}/cmdline").read_bytes().rstrip(b"\0")
    assert (words, Path(f"/proc/{made.pid}/comm").read_text()) == (b"scrun: stand-in of box", "scrun\n")
    os.kill(made.pid, signal.SIGUSR1)
    assert made.reader.next(anything) == {"do": "kill", "signal": signal.SIGUSR1}
    _move(made, network=True)  # by Python, of the same pid
    assert b"wake.py" in Path(f"/proc/{made.pid}/cmdline").read_bytes()
    os.kill(made.pid, signal.SIGUSR1)
    assert made.reader.next(anything) == {"do": "kill", "signal": signal.SIGUSR1}
    made.tell({"do": "exit", "status": 7})
    assert exit_code(made.pid) == 7


@pytest.mark.parametrize("mode", ["asleep"], indirect=True)
def test_what_an_upgrade_may_replace_stays_awake(
    fork: Fork, exit_code: Wait, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_module, "kept_open", set())
    made = Rehearsed(fork, container)
    _move(made)
    time.sleep(0.2)
    assert Path(f"/proc/{made.pid}/exe").readlink().name != "scrun-wait"
    made.tell({"do": "exit", "status": 3})
    assert exit_code(made.pid) == 3


@pytest.mark.parametrize("mode", ["asleep"], indirect=True)
def test_podman_finds_the_same_command_line_asleep(
    fork: Fork, exit_code: Wait, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "scrun: on a node of Slurm; see: podman exec box ps, or: scrun ps box"
    monkeypatch.setattr(podman_view, "show", lambda _container, *, rootfs: words)
    monkeypatch.setattr(wait, "QUIET", 0.2)
    made = Rehearsed(fork, container)
    made.tell({"do": "show podman", "rootfs": False})
    _await_sleep(made.pid)
    shown = Path(f"/proc/{made.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert (shown, Path(f"/proc/{made.pid}/comm").read_text()) == (words, f"{podman_view.NAME}\n")
    made.tell({"do": "exit", "status": 3})
    assert exit_code(made.pid) == 3


@pytest.mark.parametrize("mode", ["asleep"], indirect=True)
def test_its_guard_sleeps_too(
    fork: Fork, exit_code: Wait, container: Container, subreaper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "QUIET", 0.3)
    made = Rehearsed(fork, container)
    _move(made, network=True)
    _await_sleep(made.pid)
    (guard,) = Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text().split()
    _await_sleep(int(guard))
    assert Path(f"/proc/{guard}/cmdline").read_bytes().startswith(b"scrun: guard of box\0")
    os.kill(int(guard), signal.SIGTERM)
    os.kill(int(guard), signal.SIGSTOP)
    made.lose_anchor()
    time.sleep(1)
    container.load()
    assert container.record["status"] == "created", "the end is the guard's"
    os.kill(int(guard), signal.SIGCONT)
    assert exit_code(made.pid) == 137
    container.load()
    assert container.record["status"] == "stopped"


def test_the_engines_hook_gets_namespace_and_state(fork: Fork, container: Container, tmp_path: Path) -> None:
    made = Rehearsed(fork, container)
    script = f"""{{ cat; echo; readlink /proc/self/ns/net /proc/$PPID/ns/net; echo "$A $1"; }} >{tmp_path}/said"""
    answer = run_hook(made, hook(script))
    if "hook" not in answer and answer:
        pytest.skip("this user may not make a network namespace")
    assert answer == ""
    state, its, the_standins, rest = (tmp_path / "said").read_text().splitlines()
    assert json.loads(state) == {
        "ociVersion": "1.1.0",
        "id": container.id,
        "status": "creating",
        "pid": made.pid,
        "bundle": "/bundle",
    }
    assert its == the_standins != os.readlink("/proc/self/ns/net")
    assert rest == " an argument"


@pytest.mark.parametrize(
    ("script", "timeout", "why"),
    [
        ("echo its reason; echo more; exit 3", 0, "failed with exit status 3: its reason"),
        ("exit 1", 0, "failed with exit status 1"),
        ("kill -9 $$", 0, "failed with exit status -9"),
        ("exec sleep 1000", 1, "took more than 1 s"),
    ],
)
def test_a_hook_that_fails_says_why(script: str, timeout: int, why: str, fork: Fork, container: Container) -> None:
    answer = run_hook(Rehearsed(fork, container), hook(script, timeout))
    if "hook" not in answer and answer:
        pytest.skip("this user may not make a network namespace")
    assert answer == f"the engine's setkey hook, which configures the network, {why}"


def test_a_hook_that_is_no_program_says_why(fork: Fork, container: Container) -> None:
    answer = run_hook(Rehearsed(fork, container), {**hook(""), "path": "/nosuch"})
    if "hook" not in answer:
        pytest.skip("this user may not make a network namespace")
    assert answer.endswith("failed with exit status 127: can't execute /nosuch: No such file or directory")


def test_messages_that_come_together_are_each_heeded(fork: Fork, exit_code: Wait, container: Container) -> None:
    made = Rehearsed(fork, container)
    both = b'{"do": "new namespaces", "pid": false, "network": true, "hook": null}\n{"do": "exit", "status": 7}\n'
    os.write(made.channel, both)
    assert exit_code(made.pid) == 7


# Not those that can't be caught, and not the two that concern only the stand-in itself.
PASSED_ON = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE})


def test_every_signal_is_passed_on_to_the_container(ready: Rehearsed, exit_code: Wait) -> None:
    for number in PASSED_ON:
        os.kill(ready.pid, number)
        assert ready.reader.next(anything) == {"do": "kill", "signal": number}
    ready.tell({"do": "exit", "status": 3})
    assert exit_code(ready.pid) == 3


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGPIPE])
def test_a_signal_that_concerns_only_itself_is_kept(number: signal.Signals, ready: Rehearsed, exit_code: Wait) -> None:
    os.kill(ready.pid, number)
    os.kill(ready.pid, signal.SIGTERM)
    assert ready.reader.next(anything) == {"do": "kill", "signal": signal.SIGTERM}
    ready.tell({"do": "exit", "status": 0})
    assert exit_code(ready.pid) == 0


def test_without_its_anchor_it_ends_the_container(rehearsed: Rehearsed, exit_code: Wait, container: Container) -> None:
    rehearsed.lose_anchor()
    assert exit_code(rehearsed.pid) == 137
    container.load()
    assert (container.record["status"], container.record["exit_status"]) == ("stopped", 137)
    assert container.record["finished"].endswith("Z")


@pytest.mark.parametrize(
    "rehearsed",
    # From a pid namespace alone none is reached: there it goes with its job, or at the delete.
    ["in the machine's namespaces", "in a new network namespace", "in both"],
    indirect=True,
)
def test_a_step_the_anchor_left_is_killed(
    rehearsed: Rehearsed, fork: Fork, exit_code: Wait, container: Container
) -> None:
    def run_for_ever() -> None:
        os.close(rehearsed.channel)
        signal.pause()

    step = fork(run_for_ever)
    container.record.update({"step_pid": step, "step_started": processes.start_time(step)})
    container.save()
    rehearsed.lose_anchor()
    assert exit_code(step) == -signal.SIGKILL
    assert exit_code(rehearsed.pid) == 137


def test_a_recorded_status_survives_the_anchor(rehearsed: Rehearsed, exit_code: Wait, container: Container) -> None:
    container.record["exit_status"] = 7
    container.save()
    rehearsed.lose_anchor()
    exit_code(rehearsed.pid)
    container.load()
    assert (container.record["status"], container.record["exit_status"]) == ("stopped", 7)


def test_a_container_without_a_record_needs_no_ending(
    rehearsed: Rehearsed, exit_code: Wait, container: Container
) -> None:
    container.remove()
    rehearsed.lose_anchor()
    assert exit_code(rehearsed.pid) == 137


@in_python
def test_the_guard_stays_in_the_machines_network(
    fork: Fork, exit_code: Wait, container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Slurm:
        """In the place of scrun.slurm.control, which needs libslurm."""

        @staticmethod
        def cancel(job_id: int) -> None:
            (tmp_path / "cancelled").write_text(f"{job_id} from {os.readlink('/proc/self/ns/net')}")

    monkeypatch.setitem(sys.modules, "scrun.slurm.control", Slurm)
    monkeypatch.setattr(scrun.slurm, "control", Slurm, raising=False)
    made = Rehearsed(fork, container)
    _move(made)
    container.record.update({"job": 7, "job_owned": True})
    container.save()
    made.lose_anchor()
    assert exit_code(made.pid) == 137
    assert (tmp_path / "cancelled").read_text() == f"7 from {os.readlink('/proc/self/ns/net')}"


class OutOfReach:
    """In the place of scrun.slurm.control: slurmctld is down until a file says otherwise."""

    def __init__(self, is_up: Path) -> None:
        self.is_up = is_up

    def cancel(self, job_id: int) -> None:
        if not self.is_up.exists():
            raise SlurmUnreachable("slurmctld can't be reached")
        self.is_up.write_text(str(job_id))


@in_python
@pytest.mark.parametrize("where", PLACES.values(), ids=PLACES)
def test_a_job_ends_when_slurmctld_is_back(
    where: dict[str, bool] | None,
    fork: Fork,
    exit_code: Wait,
    container: Container,
    subreaper: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    slurm = OutOfReach(tmp_path / "is up")
    monkeypatch.setitem(sys.modules, "scrun.slurm.control", slurm)
    monkeypatch.setattr(scrun.slurm, "control", slurm, raising=False)
    monkeypatch.setattr(debtor, "FIRST_PAUSE", 0.01)
    made = Rehearsed(fork, container)
    first = made.pid
    if where:
        _move(made, **where)
    container.record.update({"status": "running", "job": 7, "job_owned": True})
    container.save()
    fcntl.flock(container.descriptor, fcntl.LOCK_UN)  # which create, that has ended, shared
    made.lose_anchor()
    stays_itself = where == {"pid": True, "network": False} and made.pid != first
    if not stays_itself:
        assert exit_code(made.pid) == 137, "who waits for the container needn't wait for slurmctld"
    slurm.is_up.touch()
    if stays_itself:
        assert exit_code(made.pid) == 137
    else:
        container.load()
        os.waitpid(container.record["debtor"][0], 0)
    container.load()
    assert (slurm.is_up.read_text(), container.record["status"], container.record["released"]) == ("7", "stopped", True)
