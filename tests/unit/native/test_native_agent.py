"""The agent, from the first frame to the last, over a real socket; built with the sanitizers."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import MakeNode, Node
from .login_side import (
    BYE,
    CLOSED,
    CONTINUE,
    CREDIT,
    DATA,
    DONE,
    EOF,
    EXIT,
    FAILED,
    NOTE,
    PART,
    RESIZE,
    RUN,
    START,
    STARTED,
    STOP,
    Login,
)

WINDOW = 262144


def test_output_and_status(node: MakeNode) -> None:
    one = node("sh", "-c", "printf out; printf err >&2; exit 3").begin().start()
    assert one.login.output(0) == (b"out", b"err", 4294967295)
    one.finish()
    assert one.first.wait(5) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "status"),
    [(["no-such-program"], 2, 127), (["/"], 13, 126), (["/etc/passwd"], 13, 126), (["/etc/passwd/x"], 20, 127)],
)
def test_a_program_that_cannot_be_run(node: MakeNode, arguments: list[str], error: int, status: int) -> None:
    one = node(*arguments).begin()
    one.login.send(START, 0, bytes(4))
    assert one.login.wait(FAILED).payload == b"x" + struct.pack(">I", error)
    one.finish()
    assert one.first.wait(5) == status


def test_only_what_was_credited_is_sent(node: MakeNode) -> None:
    one = node("sh", "-c", "head -c 900000 /dev/zero; sleep 600").begin().start()
    size = 0
    while size < WINDOW:
        size += len(one.login.wait(DATA, 1).payload)
    one.login.run(1, "echo", "between")  # its answer comes, and no more of the other
    assert one.login.output(1)[0] == b"between\n"
    assert size == WINDOW
    one.login.send(CREDIT, 1, struct.pack(">I", 1000))
    assert len(one.login.wait(DATA, 1).payload) == 1000


def test_an_end_waits_for_no_credit(node: MakeNode) -> None:
    """What was in the pipe comes, although nobody gives credit: a pipe holds less than a window beyond it."""
    one = node("sh", "-c", f"head -c {WINDOW + 60000} /dev/zero").begin().start()
    out, _, _ = one.login.output(0, credit=False)
    assert out == bytes(WINDOW + 60000)
    one.finish()


def test_credit_beyond_a_window_is_a_broken_peer(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.send(CREDIT, 1, struct.pack(">I", 1))
    assert one.is_gone()
    assert one.first.wait(5) == -signal.SIGKILL


def test_input_is_credited_and_echoed(node: MakeNode) -> None:
    one = node("cat").begin().start()
    given, echoed, left = bytes(range(256)) * 8192, b"", WINDOW
    rest = given
    while len(echoed) < len(given):
        while left and rest:
            piece, rest = rest[: min(left, 50000)], rest[min(left, 50000) :]
            left -= len(piece)
            one.login.send(DATA, 0, piece)
        frame = one.login.read()
        if frame.type == CREDIT:
            left += int.from_bytes(frame.payload, "big")
        if frame.type == DATA:
            echoed += frame.payload
            one.login.send(CREDIT, 1, struct.pack(">I", len(frame.payload)))
    one.login.send(EOF, 0)
    assert echoed == given
    assert one.login.output(0) == (b"", b"", 4294967295)
    one.finish()


def test_input_before_the_start_is_kept(node: MakeNode) -> None:
    one = node("cat").begin()
    one.login.send(DATA, 0, b"early")
    one.login.send(EOF, 0)
    one.start()
    assert one.login.output(0)[0] == b"early"
    one.finish()


def test_input_beyond_the_credit_is_a_broken_peer(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    for _ in range(WINDOW // 65536):
        one.login.send(DATA, 0, bytes(65536))
    held = int.from_bytes(one.login.wait(CREDIT).payload, "big")  # what the pipe has taken
    one.login.send(DATA, 0, bytes(held))
    one.login.run(1, "true")
    assert one.login.output(1)[2] == 0
    one.login.send(DATA, 0, b"x")
    assert one.is_gone()


def test_closed_streams_are_told(node: MakeNode) -> None:
    one = node("sh", "-c", "exec <&-; echo closed; while echo more; do :; done").begin().start()
    assert one.login.wait(CLOSED).stream == 0
    one.login.send(CLOSED, 1)  # sh's echo gets SIGPIPE
    one.login.wait(EOF, 1)
    one.login.wait(EXIT, 0)
    one.finish()


def test_fin_ends_the_container(node: MakeNode) -> None:
    one = node("sh", "-c", "sleep 600 & sleep 600 & echo; wait").begin().start()
    one.login.wait(DATA)
    one.login.run(1, "@members")
    members = [int(line) for line in one.login.output(1)[0].split()]
    assert len(members) == 3
    assert one.login.connection
    one.login.connection.close()
    assert one.is_gone()
    one.first.wait(5)
    assert {state_of(pid) for pid in members} <= {"", "Z"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_agent_survives_the_signals_of_a_cancelled_step(node: MakeNode, number: int) -> None:
    one = node("sleep", "600").begin().start()
    one.login.run(1, "sh", "-c", f"kill -{number} $PPID; echo $PPID")
    assert one.login.output(1)[2] == 0
    assert one.login.signal(signal.SIGKILL) == 0
    one.login.output(0)
    one.finish()


# ---- further processes ----


def is_locked(directory: Path) -> bool:
    """Whether systemd-tmpfiles would spare it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_cleaners_spare_what_it_uses(node: MakeNode, tmp_path: Path) -> None:
    used = [tmp_path / "scrun-1", tmp_path / "scrun-2"]
    for directory in used:
        directory.mkdir()
    one = node("sh", "-c", "read line")
    one.settings["address"] += "".join(f"\ncarried {directory}" for directory in used)
    one.begin().start()
    assert all(map(is_locked, (*used, one.place)))
    shutil.rmtree(one.place)
    one.login.exec(1, "exit 5")
    assert one.login.output(1)[2] == 5
    assert is_locked(one.place)
    one.login.send(EOF, 0)
    one.finish()
    deadline = time.monotonic() + 20  # its last directory is gone a moment before it is
    while any(map(is_locked, used)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_soft_limits_become_hard_ones_at_most(node: MakeNode) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    one = node("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -S -c; ulimit -H -c")
    one.settings["limit"] = f"{resource.RLIMIT_NOFILE} {100:016x}\nlimit {resource.RLIMIT_CORE} {(1 << 64) - 1:016x}"
    one.begin().start()
    printed = one.login.output(0)[0].split()
    assert printed[:2] == [b"100", b"%d" % most]
    assert printed[2] == printed[3]
    one.finish()


def test_the_agent_is_not_bound_by_limits(node: MakeNode) -> None:
    one = node("sh", "-c", "read line; ulimit -n; ulimit -Hn; ulimit -f; ulimit -Hf; ulimit -Hc")
    limits = [(resource.RLIMIT_NOFILE, 8, 9), (resource.RLIMIT_FSIZE, 0, 512), (resource.RLIMIT_CORE, 0, 0)]
    one.settings["limit"] = "\nlimit ".join(f"{kind} {soft:016x} {hard:016x}" for kind, soft, hard in limits)
    one.begin().start()
    one.login.exec(1, "ulimit -f; ulimit -Hf")
    assert one.login.output(1)[0] == b"unlimited\nunlimited\n"
    one.login.send(EOF, 0)
    assert one.login.output(0)[0].split() == [b"8", b"9", b"0", b"1", b"0"]
    one.finish()


def test_small_files_of_the_job_are_enough(node: MakeNode) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        one = node("sleep", "600").begin().start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    one.login.exec(1, "ulimit -f")
    assert one.login.output(1)[0] == b"8\n"  # of 512 bytes


def test_a_limit_that_cannot_be_set(node: MakeNode) -> None:
    one = node("true")
    most = (1 << 64) - 1  # which the kernel allows nobody
    one.settings["limit"] = f"{resource.RLIMIT_NOFILE} {most:016x} {most:016x}"
    one.begin()
    one.login.send(START, 0, bytes(4))
    assert one.login.wait(FAILED, 0).payload == b"l" + struct.pack(">I", errno.EPERM) + b"7"
    one.finish()


def test_why_there_is_no_place_to_meet(node: MakeNode) -> None:
    one = node("true")
    one.settings["address"] += "\ncarried /nosuch"
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        one.environment.pop(name, None)
    taken = [one.place, Path("/dev/shm", one.place.name)]
    for directory in taken:
        directory.mkdir()
    one.run_hook()
    one.login.accept()
    assert one.hook
    _, said = one.hook.communicate(timeout=20)
    for directory in taken:
        directory.rmdir()
    assert "cannot make a directory in /tmp or /dev/shm on this node: File exists" in said


def test_exec(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.exec(5, "read line; echo got $line; echo err >&2; exit 9")
    one.login.send(DATA, 20, b"a line\n")
    assert one.login.wait(STARTED, 20)
    assert one.login.output(5) == (b"got a line\n", b"err\n", 9)


def test_exec_that_the_runtime_refuses(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    for _ in range(3):  # the number is free again
        one.login.exec(1, "refuse")
        assert one.login.wait(FAILED).payload == b"r\0\0\0\1it was refused\n"


def test_exec_that_ends_before_its_runtime(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    for status in range(1, 6):
        one.login.exec(1, f"exit {status}")
        assert one.login.output(1)[2] == status


def test_a_hundred_at_a_time(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    for process in range(1, 101):
        one.login.exec(process, f"echo {process}; exit {process}")
    written = dict.fromkeys(range(1, 101), b"")
    statuses: dict[int, int] = {}
    ends = 0
    while len(statuses) < 100 or ends < 200:
        frame = one.login.read()
        if frame.type == DATA:
            written[frame.stream // 4] += frame.payload
        statuses |= {frame.stream // 4: int.from_bytes(frame.payload, "big")} if frame.type == EXIT else {}
        ends += frame.type == EOF
        assert frame.type != FAILED
    assert written == {process: b"%d\n" % process for process in range(1, 101)}
    assert statuses == {process: process for process in range(1, 101)}


def test_output_of_the_background_follows_the_exit(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.exec(1, "exec 3<&0; (read x; echo late) <&3 & exit 4")
    one.login.wait(EXIT, 4)
    one.login.send(DATA, 4, b"\n")
    assert one.login.wait(DATA, 5).payload == b"late\n"
    assert {one.login.wait(EOF).stream, one.login.wait(EOF).stream} == {5, 6}


def test_run(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.run(2, "sh", "-c", "echo $1 $task $SLURMD_NODENAME; exit 6", "x", "a  b")
    assert one.login.output(2) == (b"a b 3 n7\n".replace(b"a b", b"a b"), b"", 6)
    one.login.run(2, "/no/such")
    assert one.login.wait(FAILED).payload == b"x\0\0\0\2"
    one.login.send(PART, 8, b"no end")
    one.login.send(RUN, 8)
    assert one.login.wait(FAILED).payload == b"x\0\0\0\x16"


def test_the_environment_of_the_held_init(node: MakeNode) -> None:
    one = node("sleep", "600")
    one.begin()
    one.login.run(1, "@environ")
    out, _, status = one.login.output(1)
    assert status == 0
    assert dict(entry.split(b"=", 1) for entry in out.rstrip(b"\0").split(b"\0")) == {
        name.encode(): value.encode() for name, value in one.environment.items()
    }


# ---- signals ----


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_signals(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.exec(1, "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.01; done")
    one.login.wait(DATA, 5)
    assert one.login.signal(signal.SIGUSR1, 1) == 0
    assert one.login.wait(DATA, 5).payload == b"usr1\n"
    assert one.login.signal(signal.SIGUSR1, 77) == 3  # ESRCH
    assert one.login.signal(signal.SIGKILL, everybody=True) == 0
    one.login.wait(EXIT, 4)
    one.finish()
    assert one.first.wait(5) == -signal.SIGKILL


def test_stop_and_continue(node: MakeNode) -> None:
    # Now and then one is begun while the others are looked at.
    one = node("sh", "-c", "while :; do sleep 2 & sleep 0.004; done").begin().start()
    time.sleep(0.2)
    for request in range(5):
        one.login.send(STOP, 0, struct.pack(">I", request))
        assert one.login.answer(request) == 0
        one.login.run(1, "@members")
        members = one.login.output(1)[0].split()
        assert members
        assert {state_of(int(pid)) for pid in members} <= {"T", "D"}
        one.login.send(CONTINUE, 0, struct.pack(">I", 100 + request))
        assert one.login.answer(100 + request) == 0
    assert state_of(one.first.pid) != "T"
    one.login.send(STOP, 0, struct.pack(">I", 99))  # so that none is begun while they are killed
    assert one.login.answer(99) == 0


# ---- a terminal ----


def with_terminal(node: MakeNode, *arguments: str) -> Node:
    one = node(*arguments, stdio="terminal")
    master, slave = pty.openpty()
    os.close(slave)
    one.begin(master)
    os.close(master)
    return one


def test_a_terminal(node: MakeNode) -> None:
    one = with_terminal(node, "sh", "-c", "stty size; read x; stty size; echo $x; tty; exec sleep 600")
    one.login.send(START, 0, struct.pack(">HH", 33, 99))
    written = b""
    while b"33 99\r\n" not in written:
        written += one.login.wait(DATA, 1).payload
    one.login.send(RESIZE, 0, struct.pack(">HH", 11, 22))
    one.login.send(DATA, 0, b"typed\n")
    while b"/dev/pts/" not in written:
        written += one.login.wait(DATA, 1).payload
    assert b"11 22\r\n" in written
    assert written.count(b"typed\r\n") == 2
    one.login.send(EOF, 0)  # hangs up
    one.login.wait(EOF, 1)
    one.login.wait(EXIT, 0)
    one.finish()
    assert one.first.wait(5) == -signal.SIGHUP


def test_the_last_output_of_a_terminal(node: MakeNode) -> None:
    one = with_terminal(node, "sh", "-c", "seq 1 5000")
    one.start()
    out = b""
    while True:
        frame = one.login.read()
        if frame.type == EXIT:
            break
        out += frame.payload if frame.type == DATA else b""
    assert out == b"".join(b"%d\r\n" % number for number in range(1, 5001))
    one.finish()


# ---- who may say what ----


def test_strangers_at_the_sockets_of_the_node(node: MakeNode) -> None:
    one = node("sleep", "600").begin()
    for said in (b"", b"i", b"x" * 5000, b"k"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(str(one.place / "s"))
            if said:
                stranger.send(said)
    assert os.stat(one.place).st_mode & 0o777 == 0o700
    one.start()
    assert one.login.signal(signal.SIGKILL) == 0
    one.finish()


def test_another_process_than_the_first_is_no_init(node: MakeNode) -> None:
    one = node("echo", "this must not run")
    with subprocess.Popen(["sleep", "600"]) as another:
        one.pid = another.pid
        one.run_hook()
        one.login.accept()
        one.login.send(START, 0, bytes(4))
        assert one.hook
        one.hook.wait(20)
        one.hook_inside()
        status = one.first.wait(20)
        another.kill()
        assert status == 137
        assert one.login.read().type == EXIT
        one.finish()


def test_silent_agent_keeps_nobody_waiting(node: MakeNode) -> None:
    one = node("sh", "-c", "exit 0").begin().start()
    one.login.wait(DONE)
    assert one.login.connection
    one.login.send(BYE)
    assert one.is_gone()


def test_no_login_no_container(node: MakeNode) -> None:
    one = node("true")
    one.login.listener.close()
    one.run_hook()
    assert one.hook
    _, said = one.hook.communicate(timeout=20)
    assert one.hook.returncode == 1
    expected = f"scrun-node: this node cannot connect to the login host at 127.0.0.1 port {one.login.port}"
    assert said == f"{expected}: Connection refused\n"


def test_a_hook_without_stderr_uses_its_runtimes(node: MakeNode) -> None:
    one = node("true")
    one.login.listener.close()
    one.run_hook(redirection="2>/dev/null")  # as crun runs it
    assert one.hook
    _, said = one.hook.communicate(timeout=20)
    assert said.startswith("scrun-node: this node cannot connect to the login host at 127.0.0.1 ")
    assert said.count("\n") == 1


def test_why_the_inner_hook_failed_reaches_login(node: MakeNode) -> None:
    one = node("true")
    one.run_hook()
    one.login.accept()
    assert one.hook
    one.hook.communicate(timeout=20)
    one.run_hook("inside")
    _, said = one.hook.communicate(timeout=20)
    assert one.hook.returncode == 1
    assert one.login.wait(NOTE).payload.decode() + "\n" == said
    assert said.startswith("scrun-node: nothing is mounted in the container at ")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("key", "12", "the value of key is not known to this version, in "),
        ("key", None, "there is no key in "),
        ("version", "2", "the value of version is not known to this version, in "),
        ("meeting", "scrun-agent-../../etc/passwd00000000000000", "the value of meeting is not known"),
        ("address", "localhost 80", "the value of address is not known"),
        ("address", "1.2.3.4.5 80", "the value of address is not known"),
        ("address", "1:2:3 80", "the value of address is not known"),
        ("address", "127.0.0.1 65536", "the value of address is not known"),
        ("limit", "7", "the value of limit is not known"),
        ("limit", "7 200", "the value of limit is not known"),
        ("limit", "7 0000000000000200 200", "the value of limit is not known"),
        ("limit", "256 0000000000000200", "the value of limit is not known"),
        ("limit", "x 0000000000000200", "the value of limit is not known"),
        ("limit", "\nlimit ".join(17 * ["7 0000000000000200"]), "the value of limit is not known"),
        ("surprise", "x", "the value of surprise is not known"),
    ],
)
def test_a_bad_connection_file(node: MakeNode, name: str, value: str | None, said: str) -> None:
    one = node("true")
    one.settings.pop(name, None)
    if value is not None:
        one.settings[name] = value
    one.run_hook()
    assert one.hook
    _, error = one.hook.communicate(timeout=20)
    assert one.hook.returncode == 1
    assert error.startswith(f"scrun-node: {said}")
    assert error.count("\n") == 1


def test_many_addresses_are_tried_in_turn(node: MakeNode) -> None:
    """As many as login gives at most: it may have a network for each node."""
    one = node("true")
    one.settings["address"] = "\naddress ".join([*["127.0.0.1 1"] * 15, one.settings["address"]])
    one.begin().start().finish()


def test_what_comes_first_over_ipv6(node: MakeNode) -> None:
    one = node("true")
    one.login.close()
    try:
        one.login = Login(one.key, "::1")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    one.settings["address"] = f"::1 {one.login.port}"
    one.begin()


def test_flush_waits_and_removes_a_killed_agents_leftovers(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    flush = subprocess.Popen(
        ["scrun-node", "flush", one.directory / "connection"],
        executable=one.program,
        env=one.environment,
        stdin=subprocess.PIPE,
    )
    assert flush.stdin
    flush.stdin.write(b'{"id": "%s"}' % one.id.encode())
    flush.stdin.close()
    one.login.run(1, "sh", "-c", "echo $PPID")
    agent = int(one.login.output(1)[0])
    assert flush.poll() is None
    (one.place / "7.log").write_text("an exec was just being run")
    os.kill(agent, signal.SIGKILL)
    assert flush.wait(20) == 0
    assert not one.place.exists()
