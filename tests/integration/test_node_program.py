"""scrun-node under crun and runc, without Slurm: what docs/protocol.md promises, with login's side in Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MakeBundle
from .node_program import (
    BYE,
    CONTINUE,
    DATA,
    DONE,
    EOF,
    EXIT,
    FAILED,
    RESIZE,
    START,
    STARTED,
    STOP,
    NodeContainer,
    build,
)
from .rootfs import Config
from .users import User
from .waiting import wait_until

Prepare = Callable[[NodeContainer], None]
MakeNode = Callable[..., NodeContainer]
NO_STATUS = 4294967295  # of process 0: the runtime tells it


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scrun-node, as the package's build makes it."""
    return build(tmp_path_factory.mktemp("program"))


@pytest.fixture(params=["crun-alice", "crun-root", "runc-alice", "runc-root"])
def run(
    request: pytest.FixtureRequest, program: Path, bundle: MakeBundle, alice: User, root: User
) -> Iterator[MakeNode]:
    """Begin a container: run("sh", "-c", "exit 7", stdio="pipes", uid=1000)."""
    runtime, name = request.param.split("-")
    user = alice if name == "alice" else root
    if not shutil.which(runtime):
        pytest.skip(f"there is no {runtime} here")
    made = []

    def make(
        *args: str, stdio: str = "pipes", uid: int = 0, prepare: Prepare | None = None, pids: bool = True
    ) -> NodeContainer:
        directory = user.mkdir(Path(f"/var/tmp/scrun-node-{uuid.uuid4().hex[:8]}"))
        shutil.copy(program, directory)
        one = NodeContainer(user, runtime, directory, stdio)
        made.append(one)
        if prepare:
            prepare(one)

        def change(config: Config) -> None:
            one.change(config)
            config["process"]["user"]["uid"] = uid
            if not pids:
                config["linux"]["namespaces"].remove({"type": "pid"})

        return one.begin(bundle(*args, user=user, change=change))

    yield make
    for one in made:
        one.clean_up()
        shutil.rmtree(one.directory)
    wait_until(lambda: not left(made), "the agents have ended")


def left(made: list[NodeContainer]) -> list[str]:
    """What is left of the agents on this host."""
    return [str(path) for one in made for path in Path("/tmp").glob(one.settings["meeting"] + "*")]


def test_output_is_exact(run: MakeNode) -> None:
    one = run("sh", "-c", "printf MARK; sleep 0.1; printf err >&2; head -c 3000000 /dev/zero; exit 7").start()
    assert one.login.output(0) == (b"MARK" + bytes(3000000), b"err", NO_STATUS)
    assert one.finish() == 7


def test_input_goes_in(run: MakeNode) -> None:
    one = run("sha256sum").start()
    for _ in range(3):
        one.login.send(DATA, 0, bytes(60000))
    one.login.send(EOF, 0)
    out, _, _ = one.login.output(0)
    assert (
        out.split()[0]
        == subprocess.run(["sha256sum"], input=bytes(180000), capture_output=True, check=True).stdout.split()[0]
    )
    assert one.finish() == 0


@pytest.mark.parametrize(("word", "error", "status"), [("no-such-program", 2, 127), ("/etc/passwd", 13, 126)])
def test_what_cannot_be_run(run: MakeNode, word: str, error: int, status: int) -> None:
    one = run(word)
    one.login.send(START, 0, bytes(4))
    assert one.login.wait(FAILED, 0).payload == b"x" + struct.pack(">I", error)
    assert one.finish() == status


def test_the_program_can_open_its_own_output(run: MakeNode) -> None:
    one = run("sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin").start()
    one.login.send(EOF, 0)
    assert one.login.output(0)[:2] == (b"out\n", b"err\n")
    assert one.finish() == 0


@pytest.mark.parametrize("run", ["crun-root", "runc-root"], indirect=True)  # by hand alice's have one user
def test_another_user_can_open_them(run: MakeNode) -> None:
    one = run("sh", "-c", "id -u; echo out >/dev/stdout; cat </dev/stdin", uid=1000).start()
    one.login.send(EOF, 0)
    assert one.login.output(0)[:2] == (b"1000\nout\n", b"")
    assert one.finish() == 0


@pytest.mark.parametrize("run", ["crun-root", "runc-root"], indirect=True)
def test_another_user_has_the_terminal(run: MakeNode) -> None:
    one = run("sh", "-c", "id -u; echo out >/dev/tty; echo console >/dev/console", stdio="terminal", uid=1000).start()
    out = b""
    while (frame := one.login.read()).type != EXIT:
        out += frame.payload if frame.type == DATA else b""
    assert out == b"1000\r\nout\r\nconsole\r\n"
    assert one.finish() == 0


def test_a_terminal(run: MakeNode) -> None:
    one = run(
        "sh",
        "-c",
        "trap 'exit 130' INT; tty; stty size; echo x >/dev/console; read x; stty size; while :; do sleep 0.1; done",
        stdio="terminal",
    )
    one.start(33, 99)
    written = b""
    while b"x\r\n" not in written:
        written += one.login.wait(DATA, 1).payload
    assert written.startswith(b"/dev/pts/0\r\n33 99\r\n")
    one.login.send(RESIZE, 0, struct.pack(">HH", 50, 132))
    one.login.send(DATA, 0, b"\n")
    while b"50 132\r\n" not in written:
        written += one.login.wait(DATA, 1).payload
    one.login.send(DATA, 0, b"\3")  # Ctrl-C
    one.login.wait(EXIT, 0)
    assert one.finish() == 130


def test_nothing_of_a_terminal_is_lost(run: MakeNode) -> None:
    one = run("sh", "-c", "seq 1 3000", stdio="terminal").start()
    out = b""
    while (frame := one.login.read()).type != EXIT:
        out += frame.payload if frame.type == DATA else b""
    assert out == b"".join(b"%d\r\n" % number for number in range(1, 3001))
    assert one.finish() == 0


def test_fifty_at_a_time(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    for process in range(1, 51):
        one.exec(process, ["sh", "-c", f"read x; echo $x {process}; exit {process}"])
        one.login.send(DATA, process * 4, b"said\n")
    written = dict.fromkeys(range(1, 51), b"")
    statuses: dict[int, int] = {}
    ends = 0
    while len(statuses) < 50 or ends < 100:
        frame = one.login.read()
        assert frame.type != FAILED, frame
        if frame.type == DATA:
            written[frame.stream // 4] += frame.payload
        if frame.type == EXIT:
            statuses[frame.stream // 4] = int.from_bytes(frame.payload, "big")
        ends += frame.type == EOF
    assert written == {process: b"said %d\n" % process for process in range(1, 51)}
    assert statuses == {process: process for process in range(1, 51)}
    assert one.login.signal(signal.SIGKILL) == 0
    assert one.finish() == 137


def test_exec_fails(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    one.exec(1, ["no-such-program"])
    failed = one.login.wait(FAILED).payload
    assert failed[:1] == b"r"
    assert b"no-such-program" in failed
    one.exec(1, ["sh", "-c", "exit 5"])
    assert one.login.output(1) == (b"", b"", 5)


def test_exec_with_a_terminal(run: MakeNode) -> None:
    script = 'while [ -z "$s" ]; do s=$(stty size 2>/dev/null); done; echo $s; echo done'
    one = run("sleep", "600").start()
    for _ in range(10):
        one.exec(1, ["sh", "-c", script], terminal=True, rows=33, columns=99)
        out = b""
        while (frame := one.login.read()).type != EOF:
            assert frame.type != FAILED, frame
            out += frame.payload if frame.type == DATA else b""
        if b"done" not in out:
            raise AssertionError(out, one.login.wait(EXIT, 4).payload)
        one.login.wait(EXIT, 4)
        assert out == b"33 99\r\ndone\r\n"


def test_exec_leaves_a_background(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    one.exec(1, ["sh", "-c", "exec 3<&0; (read x <&3; echo late) & echo early"])
    one.login.wait(EXIT, 4)
    one.login.send(DATA, 4, b"\n")
    assert one.login.wait(DATA, 5).payload == b"late\n"
    one.login.wait(EOF)


def test_a_removed_place_to_meet_is_made_anew(run: MakeNode) -> None:
    one = run("cat").start()
    for _ in range(2):
        (place,) = left([one])
        shutil.rmtree(place)  # as a cleaner of /tmp does, or another job's Epilog
        one.exec(1, ["sh", "-c", "exit 5"])
        assert one.login.output(1) == (b"", b"", 5)
    assert left([one]) == [place]
    one.login.send(EOF, 0)
    assert one.finish() == 0


def test_the_whole_container_gets_a_signal(run: MakeNode) -> None:
    child = "sh -c 'echo up; exec sleep 600'"
    one = run("sh", "-c", f"trap 'echo first' USR1; {child} & while :; do wait; done").start()
    one.login.wait(DATA, 1)  # it has its parent's trap no more
    one.exec(1, ["sh", "-c", "trap 'echo second' USR1; echo ready; while :; do :; done"])
    one.login.wait(DATA, 5)
    one.login.run(2, "@members")
    members = one.login.output(2)[0].split()
    assert len(members) >= 3
    assert one.login.signal(signal.SIGUSR1, everybody=True) == 0
    said = {one.login.wait(DATA).payload, one.login.wait(DATA).payload}
    assert said == {b"first\n", b"second\n"}


def test_every_process_is_stopped(run: MakeNode) -> None:
    one = run("sh", "-c", "while :; do sh -c 'sleep 0.02 & wait'; done").start()
    two = run("sh", "-c", "while :; do echo tick; sleep 0.01; done").start()
    one.exec(1, ["sh", "-c", "while :; do :; done"])
    one.login.wait(STARTED, 4)
    one.login.send(STOP, 0, struct.pack(">I", 7))
    assert one.login.answer(7) == 0
    one.login.run(2, "@members")
    members = one.login.output(2)[0].split()
    assert {state(int(pid)) for pid in members} <= {"T", "D"}
    for _ in range(5):
        two.login.wait(DATA, 1)  # another container's run on
    one.login.send(CONTINUE, 0, struct.pack(">I", 8))
    assert one.login.answer(8) == 0
    wait_until(lambda: state(int(members[0])) in "RSD", "the container runs again")


@pytest.mark.parametrize("run", ["crun-root", "runc-root"], indirect=True)  # alice may not mount /proc then
def test_orphan_among_host_processes_belongs_to_its_container(run: MakeNode) -> None:
    one = run("sleep", "600", pids=False).start()
    one.exec(1, ["sh", "-c", "(sleep 600 >/dev/null 2>&1 & echo $!)"])
    orphan = one.login.output(1)[0].split()[0]
    one.login.run(2, "@members")
    members = one.login.output(2)[0].split()
    assert orphan in members
    assert len(members) == 2  # and none of the host's
    assert one.login.connection
    one.login.connection.close()
    wait_until(lambda: not Path(f"/proc/{orphan.decode()}").exists(), "the orphan has ended")


def state(pid: int) -> str:
    """A process's, as in /proc."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def agent_of(one: NodeContainer) -> int:
    """The agent's pid."""
    one.login.run(9, "sh", "-c", "echo $PPID")
    return int(one.login.output(9)[0])


def test_an_agent_that_is_killed_is_noticed(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    os.kill(agent_of(one), signal.SIGKILL)
    with pytest.raises((EOFError, ConnectionResetError)):
        one.login.read()


def test_login_that_dies_ends_the_container(run: MakeNode) -> None:
    one = run("sh", "-c", "sleep 600 & sleep 600").start()
    assert one.login.connection
    one.login.connection.close()
    assert one.process
    assert one.process.wait(20) == 137


def test_the_environment_is_the_runtimes(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    one.login.run(1, "sh", "-c", "echo $HOME $XDG_RUNTIME_DIR $task")
    assert one.login.output(1)[0].decode() == f"{one.user.home} /run/user/{one.user.uid} 0\n"
    one.login.run(1, "@environ")
    assert b"PATH=/sbin:/bin\0TERM=xterm\0" in one.login.output(1)[0]


def test_the_key_is_nowhere_to_be_seen(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    one.exec(1, ["sleep", "600"])
    one.login.wait(STARTED, 4)
    key = one.key.hex().encode()
    seen = 0
    for name in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            seen += len(content) > 0
            assert key not in content
            assert one.key not in content
    assert seen > 20


def test_no_descriptor_of_the_runtimes_stays_open(run: MakeNode) -> None:
    one = run("sleep", "600").start()
    agent = agent_of(one)
    links = sorted(os.readlink(path) for path in Path(f"/proc/{agent}/fd").iterdir())
    known = re.compile(
        r"/dev/null|/memfd:scrun-\w+ \(deleted\)|socket:.*|pipe:.*|anon_inode:\[?(pidfd|signalfd)\]?|pidfd:.*"
    )
    (place,) = left([one])  # locked, so that no cleaner goes in
    assert [link for link in links if not known.fullmatch(link)] == [place]
    assert {os.readlink(f"/proc/{agent}/fd/{number}") for number in range(3)} == {"/dev/null"}


class Proxy:
    """Something between both that can be cut off."""

    def __init__(self, port: int) -> None:
        self.target, self.listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self.listener.accept()
                two = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.connections += 1
            self.pairs.append((one, two))
            for pair in ((one, two), (two, one)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                to.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        """End it."""
        self.listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for one in pair:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    one.shutdown(socket.SHUT_RD)  # wakes the thread
                except OSError:
                    pass
                one.close()


def test_a_connection_that_is_cut_is_resumed(run: MakeNode) -> None:
    """Twelve MB through a proxy that resets the connection after every two: nothing is lost, nothing comes twice."""
    proxies = []

    def between(one: NodeContainer) -> None:
        proxies.append(Proxy(one.login.port))
        one.settings["address"] = f"127.0.0.1 {proxies[0].port}"

    one = run("sh", "-c", "seq 1 1700000", prepare=between).start()
    proxy = proxies[0]
    assert one.process
    out, next_cut = bytearray(), 2_000_000
    while True:
        try:
            if one.login.connection is None:
                one.login.accept()
            frame = one.login.read()
        except (OSError, EOFError):
            one.login.cut()
            continue
        if frame.type == DATA:
            out += frame.payload
            one.login.send(7, 1, struct.pack(">I", len(frame.payload)))
        if frame.type == DONE:
            break
        if len(out) >= next_cut:
            next_cut += 2_000_000
            proxy.cut()
    assert hash(bytes(out)) == hash(b"".join(b"%d\n" % number for number in range(1, 1700001)))
    assert proxy.connections >= 5
    one.login.send(BYE)
    assert one.process.wait(20) == 0
    proxy.close()
