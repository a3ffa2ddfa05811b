"""exec: what the node is asked for, and what the caller sees of the process, which the test's node plays."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_agent import DATA, EOF, EXIT, RESIZE, SteppedLoop, hears
from played_node import Node, PlayedAnchor

from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container import network, status
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import exec as lifecycle_exec


@pytest.mark.parametrize("written", ["creating", "created", "stopped", "paused"])
def test_only_a_container_that_runs_can_run_more(container: Container, written: str) -> None:
    container.record.update({"status": written, "step": "0"})
    with pytest.raises(WrongStatus, match=f"container not running: it is {written}"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


def test_a_paused_container_can_be_entered_on_request(container: Container) -> None:
    container.record.update({"status": "paused", "step": "0", "nodes": "n1"})
    lifecycle_exec.check(container, lifecycle_exec.ExecOptions(ignore_paused=True))


def test_one_without_nodes_is_queued(container: Container) -> None:
    container.record.update({"status": "running", "job": 42})
    with pytest.raises(WrongStatus, match="its job 42 is queued"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


def test_one_that_is_being_started_is_waited_for(
    container: Container, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    container.record.update({"status": "running", "job": 42, "nodes": "n1"})
    container.save()
    waiting = fork(lifecycle_exec.check, container, lifecycle_exec.ExecOptions())
    container.record["step"] = "0"
    container.save()
    assert exit_code(waiting) == 0


def test_a_container_being_started_is_waited_for_briefly(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle_exec, "STARTING", 0.05)
    container.record.update({"status": "running", "job": 42, "nodes": "n1"})
    container.save()
    with pytest.raises(WrongStatus, match="container not running: it is starting"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


@pytest.mark.parametrize(("wanted", "found"), [("", "n1"), ("n1", "n1"), ("n3", "n3")])
def test_exec_picks_the_first_or_the_named_node(wanted: str, found: str) -> None:
    assert lifecycle_exec._node({"nodes": "n[1-3]"}, wanted) == found  # type: ignore[typeddict-item]


def test_another_node_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'n4' isn't one of the container's: use one of n\[1-3\]"):
        lifecycle_exec._node({"nodes": "n[1-3]"}, "n4")  # type: ignore[typeddict-item]


# --- with a node


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container, tmp_path: Path) -> Iterator[PlayedAnchor]:
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    (tmp_path / "rootfs/bin/tool").touch(0o755)
    process = {"args": ["tool"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin", "OWN=config", "GONE=1"]}
    config = {"ociVersion": "1.2.0", "process": process, "root": {"path": "rootfs"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = PlayedAnchor(
        stepped,
        container,
        bundle=str(tmp_path),
        rootfs=str(tmp_path / "rootfs"),
        config_file="config.json",
        job_environment=["SLURM_JOB_ID=42", "SLURM_LOCALID=job"],
    )
    yield made
    made.close()


class Exec:
    """scrun exec in a child, whose standard input, output and error are pipes of the test's."""

    def __init__(
        self,
        anchor: PlayedAnchor,
        fork: Callable[..., int],
        words: tuple[str, ...],
        options: dict[str, Any],
        stdio: list[int] | None = None,
    ) -> None:
        self.notes, notes = os.pipe()
        (stdin, self.stdin), (self.stdout, stdout), (self.stderr, stderr) = os.pipe(), os.pipe(), os.pipe()

        def be_it() -> int:
            signal.set_wakeup_fd(-1)
            for node in anchor.played:  # not its own
                node.fake.die()
            for at, descriptor in enumerate(stdio or [stdin, stdout, stderr]):
                os.dup2(descriptor, at)
            try:
                return lifecycle_exec.run_in_container(
                    anchor.container, lifecycle_exec.ExecOptions(words, **options), lambda _note: None
                )
            except ScrunError as error:
                os.write(notes, f"{type(error).__name__}: {error}".encode())
                return lifecycle_exec.CODE

        self._anchor = anchor
        self.pid = fork(be_it)
        for descriptor in (notes, stdin, stdout, stderr):
            os.close(descriptor)

    def error(self) -> str:
        """What went wrong; after its end."""
        return os.read(self.notes, 65536).decode()

    def ended(self) -> int:
        """Serve until it has ended; its exit status."""
        status: list[int] = []

        def has_ended() -> bool:
            pid, waited = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                status.append(os.waitstatus_to_exitcode(waited))
            return bool(pid)

        self._anchor.until(has_ended)
        return status[0]

    def close(self) -> None:
        for descriptor in (self.notes, self.stdin, self.stdout, self.stderr):
            os.close(descriptor)


Start = Callable[..., Exec]


@pytest.fixture
def start(anchor: PlayedAnchor, fork: Callable[..., int]) -> Iterator[Start]:
    made: list[Exec] = []

    def begin(*words: str, stdio: list[int] | None = None, **options: Any) -> Exec:
        made.append(Exec(anchor, fork, words, options, stdio))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def asked(anchor: PlayedAnchor, node: Node) -> tuple[int, dict[str, Any]]:
    """The number of the one process that the node is asked for, and its process object."""
    anchor.until(lambda: bool(node.execs))
    number, process, _frame = node.execs[-1]
    return number, json.loads(process)


def test_streams_and_status_pass_between_node_and_caller(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("tool", "a b", cwd="/bin")
    number, process = asked(anchor, node)
    assert (process["args"], process["cwd"], process.get("terminal", False)) == (["tool", "a b"], "/bin", False)
    node.started(number)
    os.write(one.stdin, b"in\0put")
    assert hears(anchor.loop, node.fake, DATA, number * 4)[0].payload == b"in\0put"
    node.fake.send(DATA, number * 4 + 1, b"out")
    node.fake.send(DATA, number * 4 + 2, b"err")
    node.end(number, 7)
    assert one.ended() == 7
    assert (os.read(one.stdout, 100), os.read(one.stderr, 100), one.error()) == (b"out", b"err", "")


ENVIRON = "PATH=/node\0OWN=task\0NEW=a=b\0SLURM_LOCALID=0\0PMI_RANK=0\0PMIX_ID=1\0EMPTY=\0\0no-variable\0"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"PATH": "/node", "OWN": "task", "GONE": "1"}),
        ({"env": ["OWN=mine"]}, {"PATH": "/node", "OWN": "mine", "GONE": "1"}),
        ({"env": ["SLURM_JOB_ID=7", "NEW=x"]}, {"SLURM_JOB_ID": "7", "NEW": "x", "OWN": "task"}),
    ],
)
def test_the_process_gets_task_variables_and_callers_changes(
    options: dict[str, Any], expected: dict[str, str], anchor: PlayedAnchor, start: Start
) -> None:
    node = anchor.running()
    node.run = lambda _words: (0, ENVIRON)
    start("tool", **options)
    env = dict(entry.split("=", 1) for entry in asked(anchor, node)[1]["env"])
    assert node.commands == [["@environ"]]
    everywhere = {"NEW": "a=b", "SLURM_JOB_ID": "42", "SLURM_LOCALID": "0", "EMPTY": ""}
    assert {**env, **everywhere, **expected} == {**env}
    assert not [name for name in env if name.startswith("PMI") or not name]


def test_a_variable_missing_from_the_process_stays_out(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    node.run = lambda _words: (0, "GONE=1\0OWN=task\0")
    process = {"args": ["tool"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin", "OWN=config"]}
    (tmp_path / "process.json").write_text(json.dumps(process))
    start(process=str(tmp_path / "process.json"))
    env = asked(anchor, node)[1]["env"]
    assert "OWN=task" in env
    assert not [entry for entry in env if entry.startswith("GONE=")]


@pytest.mark.parametrize(("uid", "ids"), [(0, (5, 6)), (1000, (7, 8))], ids=["root's", "a user's"])
def test_only_a_users_guest_has_its_hosts_user(
    uid: int, ids: tuple[int, int], anchor: PlayedAnchor, start: Start
) -> None:
    """root's containers share a network and no user namespace."""
    anchor.record.update({"uid": uid, "network": network.JOINED, "network_user": [7, 8]})
    anchor.container.save()
    node = anchor.running()
    start("tool", user="5:6")
    user = asked(anchor, node)[1]["user"]
    assert (user["uid"], user["gid"]) == ids


@pytest.mark.parametrize("said", [(255, "the connection to the node was lost"), (1, "NOT=A variable")])
def test_a_node_without_a_task_environment_adds_nothing(
    said: tuple[int, str], anchor: PlayedAnchor, start: Start
) -> None:
    node = anchor.running()
    node.run = lambda _words: said
    start("tool")
    env = asked(anchor, node)[1]["env"]
    assert sorted(env) == ["GONE=1", "OWN=config", "PATH=/bin", "SLURM_JOB_ID=42", "SLURM_LOCALID=job"]


def test_a_process_object_of_a_megabyte_arrives_whole(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    words = ["tool", *("x" * 1000 + str(number) for number in range(1000))]
    start(*words)
    assert asked(anchor, node)[1]["args"] == words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_a_callers_signal_reaches_only_its_process(number: int, anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("tool")
    process, _ = asked(anchor, node)
    node.started(process)
    # The caller has said all that it says before it waits, once it is heard of the start.
    anchor.loop.settle()
    os.kill(one.pid, number)
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(process, number, False)]
    node.end(process, 128 + number)
    assert one.ended() == 128 + number


def test_a_killed_caller_takes_its_process_with_it(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("tool")
    process, _ = asked(anchor, node)
    node.started(process)
    os.kill(one.pid, signal.SIGKILL)
    assert one.ended() == -9
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(process, 9, False)]


def test_a_missing_program_is_reported_in_engines_words(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("nosuch")
    process, _ = asked(anchor, node)
    node.failed("x", errno.ENOENT, number=process)
    assert one.ended() == 255
    assert one.error() == 'ExecutableNotFound: exec: "nosuch": executable file not found in $PATH'


def test_a_lost_node_ends_it_as_sigkill_does(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("tool")
    process, _ = asked(anchor, node)
    node.started(process)
    node.fake.die()
    assert one.ended() == status.KILLED


def test_an_anchor_that_is_killed_ends_it_too(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    one = start("tool")
    node.started(asked(anchor, node)[0])
    requests = anchor.side._requests
    assert requests
    (caller,) = requests._callers
    caller._caller.shutdown(socket.SHUT_RDWR)
    assert one.ended() == status.KILLED


@pytest.mark.parametrize("detach", [False, True])
def test_an_unreachable_container_says_why_entering_fails(detach: bool, anchor: PlayedAnchor, start: Start) -> None:
    anchor.running()
    anchor.record["unconnected"] = "oci.conf disables hooks that scrun needs"
    one = start("tool", detach=detach)
    assert one.ended() == 255
    assert one.error() == (
        "NodeRuntimeError: container 'box' can't be reached on its nodes: oci.conf disables hooks that scrun needs"
    )


def test_a_container_that_just_ended_is_not_running(anchor: PlayedAnchor, start: Start) -> None:
    one = start("tool")
    assert one.ended() == 255
    assert one.error() == "NodeRuntimeError: container 'box' is not running any more"


# --- pid files, and processes that nobody waits for


def test_the_pid_file_has_the_callers_own_pid(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    one = start("tool", pid_file=str(tmp_path / "pid"))
    process, _ = asked(anchor, node)
    anchor.until((tmp_path / "pid").exists)
    assert (tmp_path / "pid").read_text() == str(one.pid)
    node.end(process, 0)
    assert one.ended() == 0


@pytest.fixture
def adopts() -> Iterator[None]:
    """Be whom a stand-in is left to, as an engine's monitor is."""
    import ctypes

    libc = ctypes.CDLL(None)
    subreaper = 36  # PR_SET_CHILD_SUBREAPER
    libc.prctl(subreaper, 1, 0, 0, 0)
    yield
    libc.prctl(subreaper, 0, 0, 0, 0)


@pytest.mark.usefixtures("adopts")
def test_a_stand_in_ends_as_its_detached_process(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    one = start("tool", detach=True, pid_file=str(tmp_path / "pid"))
    process, _ = asked(anchor, node)
    anchor.loop.settle()
    assert os.waitpid(one.pid, os.WNOHANG) == (0, 0), "it waits for the start"
    node.started(process)
    assert one.ended() == 0
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(process, 15, False)]
    node.end(process, 7)
    anchor.loop.settle()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.usefixtures("adopts")
def test_a_stand_in_without_anchor_ends_as_killed(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    one = start("tool", detach=True, pid_file=str(tmp_path / "pid"))
    node.started(asked(anchor, node)[0])
    assert one.ended() == 0
    requests = anchor.side._requests
    assert requests
    (caller,) = requests._callers
    caller._caller.shutdown(socket.SHUT_RDWR)
    assert os.waitstatus_to_exitcode(os.waitpid(int((tmp_path / "pid").read_text()), 0)[1]) == status.KILLED


def test_a_failed_detached_process_leaves_no_pid_file(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    one = start("tool", detach=True, pid_file=str(tmp_path / "pid"))
    node.failed("r", 0, "chdir to /x: No such file or directory", number=asked(anchor, node)[0])
    assert one.ended() == 255
    assert one.error() == "ExecutableNotFound: exec failed: chdir to /x: No such file or directory"
    assert not (tmp_path / "pid").exists()


def test_an_unwritable_pid_file_ends_the_detached_process(anchor: PlayedAnchor, start: Start, tmp_path: Path) -> None:
    node = anchor.running()
    one = start("tool", detach=True, pid_file=str(tmp_path / "nosuch/pid"))
    process, _ = asked(anchor, node)
    node.started(process)
    assert one.ended() == 255
    assert "nosuch/pid" in one.error()
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(process, 9, False)]


# --- terminals


def test_a_persons_terminal_passes_on_its_size_changes(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    one = start("tool", tty=True, stdio=[theirs] * 3)
    process, _ = asked(anchor, node)
    assert node.execs[0][2].payload == struct.pack(">BHH", 1, 24, 80)
    node.started(process)
    anchor.until(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON)
    termios.tcsetwinsize(theirs, (33, 99))
    os.kill(one.pid, signal.SIGWINCH)
    frame = hears(anchor.loop, node.fake, RESIZE, process * 4)[0]
    assert frame.payload == struct.pack(">HH", 33, 99)
    assert node.signals == []
    node.fake.send(EOF, process * 4 + 1)
    node.fake.send(EXIT, process * 4, bytes(4))
    assert one.ended() == 0
    assert termios.tcgetattr(theirs)[3] & termios.ICANON, "it is as it was"
    os.close(ours)
    os.close(theirs)


def test_an_early_change_of_size_is_told_too(anchor: PlayedAnchor, start: Start) -> None:
    node = anchor.running()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))

    def resize_unheard(_descriptor: int) -> tuple[int, int]:
        if not resized:
            resized.append(True)
            termios.tcsetwinsize(theirs, (33, 99))
            return 24, 80
        return 33, 99

    resized: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle_exec, "window_size", resize_unheard)
        one = start("tool", tty=True, stdio=[theirs] * 3)
    process, _ = asked(anchor, node)
    assert node.execs[0][2].payload == struct.pack(">BHH", 1, 24, 80)
    node.started(process)
    frame = hears(anchor.loop, node.fake, RESIZE, process * 4)[0]
    assert frame.payload == struct.pack(">HH", 33, 99)
    node.fake.send(EOF, process * 4 + 1)
    node.fake.send(EXIT, process * 4, bytes(4))
    assert one.ended() == 0
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"console_socket": "/nosuch"}, "--console-socket is given, but the process has no terminal: add --tty"),
        ({"detach": True, "tty": True}, "a detached process can't use this terminal: add --console-socket"),
        ({"tty": True}, "--tty needs a terminal, and standard input is none"),
        ({"process": "/nosuch"}, "exec needs either a command or --process, and not both"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    options: dict[str, Any], said: str, anchor: PlayedAnchor, start: Start
) -> None:
    one = start("tool", **options)
    assert one.ended() == 255
    error = one.error()
    assert error.startswith("UsageError: ")
    assert said in error
    assert anchor.nodes is None
