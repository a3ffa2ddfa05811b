"""A container's network between its two ends, scrun-network and scrun-node, both with the sanitizers.

Three network namespaces: a neighbour's, the engine's for the container, and the container's own "on the node".
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builds import built

import scrun

from .conftest import SANITIZERS, MakeNode, Node

pytestmark = pytest.mark.slow
SOURCES = Path(scrun.__file__).parent / "network"
NEIGHBOUR, ADDRESS = "10.9.0.1", "10.9.0.2"
CONFIG, CONFIGURED, NAMES = 32, 33, 34
MAC = "0a0000000002"
CONFIGS = [
    f"link 0 eth0 {MAC} 1500 ipv6\naddress 0 0a090002 24\nroute 0 00000000 0 0a090001 0 - -\n",
    f"link 0 eth0 {MAC} 1500 ipv6\nlink 1 eth1 0a0000000003 9000 no-ipv6\naddress 0 fd00{'0' * 26}07 64\nnear 0\n",
    "",
]


@pytest.fixture(scope="session")
def network_program() -> Path:
    """scrun-network with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return built("network", *SANITIZERS)


class Namespace:
    """A network namespace, in a user namespace of its own or in another one's."""

    def __init__(self, beside: Namespace | None = None) -> None:
        words = ["unshare", "--net"] if beside else ["unshare", "--user", "--map-root-user", "--net"]
        words += ["sh", "-c", "ip link set lo up; echo; exec sleep 1000"]
        self.process = subprocess.Popen((beside.entered(*words) if beside else words), stdout=subprocess.PIPE)
        assert self.process.stdout
        if not self.process.stdout.read(1):
            pytest.skip("this user can make no network namespace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def entered(self, *words: str) -> list[str]:
        """A command in it."""
        return ["nsenter", f"--target={self.pid}", "--user", "--net", "--preserve-credentials", *words]

    def run(self, *words: str) -> str:
        return subprocess.run(self.entered(*words), check=True, capture_output=True, text=True, timeout=60).stdout

    def start(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.entered("python3", "-c", script), stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def namespace() -> Iterator[Callable[..., Namespace]]:
    made: list[Namespace] = []

    def make(beside: Namespace | None = None) -> Namespace:
        made.append(Namespace(beside))
        return made[-1]

    yield make
    for one in made:
        one.end()


def accept(node: Node) -> socket.socket:
    """The node's connection for the network, which has proved to know the key."""
    node.login.listener.settimeout(20)
    connection, _ = node.login.listener.accept()
    connection.settimeout(20)
    first = exactly(connection, 56)
    assert first[:8] == b"scrun\0\1\1"
    name, theirs, ours = first[8:24], first[24:], os.urandom(32)
    assert name == node.login.name

    def mac(letter: bytes, rest: bytes = b"") -> bytes:
        return hmac.digest(node.key, letter + name + theirs + ours + rest, hashlib.sha256)

    connection.sendall(ours + mac(b"l"))
    third = exactly(connection, 40)
    assert third == bytes(8) + mac(b"n", bytes(8))
    connection.sendall(bytes(8) + mac(b"r", bytes(8)))
    return connection


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frame(channel: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) << 8 | channel) + payload


def read_frame(connection: socket.socket, channel: int) -> bytes:
    """The payload of the next frame of that channel; others are passed over."""
    while True:
        word = int.from_bytes(exactly(connection, 4), "big")
        payload = exactly(connection, word >> 8)
        if word & 255 == channel:
            return payload


class Container:
    """A process in namespaces of its own, with an agent: the hooks have come to the one that asks for the network."""

    def __init__(self, node: Node, inside: Namespace) -> None:
        self.node, self.inside = node, inside
        node.settings["network"] = "engine"
        node.begin()
        self.hook = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.hook.settimeout(30)
        self.hook.connect(str(node.place / "s"))
        fds = [os.open(f"/proc/{inside.pid}/ns/{kind}", os.O_RDONLY) for kind in ("net", "user")]
        socket.send_fds(self.hook, [b"n"], fds)
        for fd in fds:
            os.close(fd)
        self.connection = accept(node)

    def answer(self) -> bytes:
        """What the hook is told."""
        with self.hook:
            return self.hook.recv(256)


@pytest.fixture
def container(node: MakeNode, namespace: Callable[..., Namespace]) -> Iterator[Container]:
    one = Container(node("60"), namespace())
    yield one
    one.hook.close()
    one.connection.close()


class Helper:
    """A running scrun-network."""

    def __init__(self, program: Path, engine: Namespace, directory: Path, *words: str, told: bytes = b"") -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        descriptor = os.open(f"/proc/{engine.pid}/ns/net", os.O_RDONLY)
        fds = (theirs.fileno(), descriptor)
        if told:
            self.control.send(told)
        self.process = subprocess.Popen(
            [program, *map(str, fds), *words],
            pass_fds=fds,
            env={"ASAN_OPTIONS": f"detect_leaks=0:log_path={directory}/asan-network"},
        )
        theirs.close()
        os.close(descriptor)
        self.directory = directory

    def hear(self, letter: bytes) -> bytes:
        """The rest of the next message of that kind."""
        while message := self.control.recv(65536):
            if message[:1] == letter:
                return message[1:]
        raise EOFError

    def give(self, connection: socket.socket) -> None:
        socket.send_fds(self.control, [b"c"], [connection.fileno()])
        connection.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.control.close()

    def end(self) -> None:
        self.control.close()
        assert self.process.wait(20) == 0
        assert not [path.read_text() for path in self.directory.glob("asan-network*")]


def connected(namespace: Callable[..., Namespace]) -> tuple[Namespace, Namespace]:
    """A neighbour's namespace and the engine's, with a cable between them."""
    neighbour = namespace()
    engine = namespace(neighbour)
    neighbour.run("ip", "link", "add", "peer", "type", "veth", "peer", "name", "eth0", "netns", str(engine.pid))
    neighbour.run("ip", "address", "add", f"{NEIGHBOUR}/24", "dev", "peer")
    neighbour.run("ip", "link", "set", "peer", "up")
    engine.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "eth0")
    engine.run("ip", "link", "set", "eth0", "up")
    engine.run("ip", "route", "add", "default", "via", NEIGHBOUR)
    return neighbour, engine


SERVE = f"""
import socket
with socket.create_server(("{NEIGHBOUR}", 7000)) as listener:
    print("ready", flush=True)
    for _ in range(2):
        connection, address = listener.accept()
        connection.sendall(connection.recv(100) * 100000)
        connection.close()
        print(address[0], flush=True)
"""
ASK = f"""
import socket
with socket.create_connection(("{NEIGHBOUR}", 7000), 20) as connection:
    connection.sendall(b"0123456789")
    data = b""
    while more := connection.recv(1 << 20):
        data += more
    print(len(data), data == b"0123456789" * 100000)
"""


def test_frames_leave_by_the_engines_interface(
    container: Container, network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    neighbour, engine = connected(namespace)
    before = engine.run("ip", "-o", "-4", "address", "show", "dev", "eth0")
    helper = Helper(network_program, engine, tmp_path)
    told = helper.hear(b"n")
    assert b"address 0 0a090002 24\n" in told
    status = Path(f"/proc/{helper.process.pid}/status").read_text()
    assert re.findall(r"^(?:Cap(?:Prm|Eff|Inh|Amb)|NoNewPrivs):\t(\w+)$", status, re.MULTILINE) == [
        *(f"{power:016x}" for power in (0, 0x3400, 0x3400, 0)),  # NET_BIND_SERVICE, NET_ADMIN, NET_RAW
        "1",
    ]
    helper.give(container.connection)
    assert container.answer() == b"k"
    assert helper.hear(b"u").startswith(b"/tmp/scrun-agent-1-")
    assert engine.run("ip", "-o", "-4", "address", "show", "dev", "eth0") == ""
    server = neighbour.start(SERVE)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    assert container.inside.run("python3", "-c", ASK) == "1000000 True\n"
    assert server.stdout.readline() == f"{ADDRESS}\n"
    helper.kill()  # another takes over
    again = Helper(network_program, engine, tmp_path, "again", told=told)
    container.connection = accept(container.node)
    again.give(container.connection)
    again.hear(b"u")
    assert container.inside.run("python3", "-c", ASK) == "1000000 True\n"
    server.communicate(timeout=20)
    again.end()
    assert engine.run("ip", "-o", "-4", "address", "show", "dev", "eth0").split()[:4] == before.split()[:4]
    assert "default" in engine.run("ip", "route")


LISTEN = """
import socket
listener = socket.create_server(("{}", 80), family=socket.{})
print("ready", flush=True)
for _ in range(2):
    connection, address = listener.accept()
    connection.sendall(connection.recv(100) * 100000)
    connection.close()
    print(address[0], flush=True)
"""
CONNECT = """
import socket
with socket.create_connection(("{}", 80), 20) as connection:
    connection.sendall(b"0123456789")
    connection.shutdown(socket.SHUT_WR)
    data = b""
    while more := connection.recv(1 << 20):
        data += more
    print(len(data))
"""
SIX = "fd00:9::2"


@pytest.mark.parametrize(
    ("address", "bound", "family", "comes_from"),
    [
        (ADDRESS, "", "AF_INET", "169.254.77.77"),
        ("127.0.0.1", "127.0.0.1", "AF_INET", "169.254.77.77"),
        ("::1", "", "AF_INET", "169.254.77.77"),
        (SIX, SIX, "AF_INET6", "fd73:6372:756e::77"),
    ],
)
def test_the_engines_namespace_reaches_the_container(
    container: Container,
    network_program: Path,
    namespace: Callable[..., Namespace],
    tmp_path: Path,
    address: str,
    bound: str,
    family: str,
    comes_from: str,
) -> None:
    """pasta and rootlessport connect there, to one or another of these addresses."""
    _, engine = connected(namespace)
    if ":" in bound:
        engine.run("ip", "address", "add", f"{SIX}/64", "dev", "eth0", "nodad")
    helper = Helper(network_program, engine, tmp_path, "near", "port", "80", "80")
    helper.give(container.connection)
    assert container.answer() == b"k"
    server = container.inside.start(LISTEN.format(bound, family))
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    for _ in range(2):
        assert engine.run("python3", "-c", CONNECT.format(address)) == "1000000\n"
        assert server.stdout.readline() == f"{comes_from}\n"
    server.communicate(timeout=20)
    helper.end()
    assert "scrun0" not in engine.run("ip", "link")


def test_a_small_file_is_written_again_early(container: Container) -> None:
    mounts = container.node.directory / "mounts"
    mounts.mkdir()
    (mounts / "3").write_bytes(b"what was longer before")
    (container.node.directory / "marker").touch()
    for name in (b"mounts/3", b"mounts/../connection", b"connection", b"mounts/x"):
        container.connection.sendall(frame(35, name + b"\0" + b"127.0.0.1 here\n"))
    container.connection.sendall(frame(CONFIG, CONFIGS[0].encode()))
    assert container.answer() == b"k"
    assert (mounts / "3").read_bytes() == b"127.0.0.1 here\n"
    assert b"key" in (container.node.directory / "connection").read_bytes()
    assert os.stat(container.node.directory / "marker").st_mtime_ns >= os.stat(mounts / "3").st_mtime_ns


def test_a_later_interface_is_the_containers_too(
    container: Container, network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    _, engine = connected(namespace)
    helper = Helper(network_program, engine, tmp_path)
    helper.give(container.connection)
    assert container.answer() == b"k"
    engine.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    engine.run("ip", "address", "add", "10.8.0.2/24", "dev", "eth1")
    engine.run("ip", "link", "set", "eth1", "up")
    wait_for(lambda: "10.8.0.2/24" in container.inside.run("ip", "address"))
    engine.run("ip", "link", "delete", "eth1")
    wait_for(lambda: "eth1" not in container.inside.run("ip", "link"))
    assert ADDRESS in container.inside.run("ip", "address")
    helper.end()


def test_a_replaced_interface_is_another_one(
    container: Container, network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    """As when a container is disconnected from a network and connected to another: both happen between two looks."""
    neighbour, engine = connected(namespace)
    helper = Helper(network_program, engine, tmp_path)
    helper.give(container.connection)
    assert container.answer() == b"k"
    server = neighbour.start(SERVE.replace("range(2)", "range(1)").replace(NEIGHBOUR, "0.0.0.0"))
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    words = f"""
        ip link delete peer && ip link add peer type veth peer name eth0 netns {engine.pid} &&
        ip address add {NEIGHBOUR}/24 dev peer && ip link set peer up && nsenter --net=/proc/{engine.pid}/ns/net sh -c '
            ip address add 10.9.0.3/24 dev eth0; ip link set eth0 up; ip route add default via {NEIGHBOUR}'
    """
    neighbour.run("sh", "-c", words)
    wait_for(lambda: "10.9.0.3/24" in container.inside.run("ip", "address"))
    assert container.inside.run("python3", "-c", ASK) == "1000000 True\n"
    assert server.communicate(timeout=20)[0] == "10.9.0.3\n"
    assert f"{ADDRESS}/" not in container.inside.run("ip", "address")
    helper.end()


COUNT = """
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("", 9))
print("ready", flush=True)
got = [b""]
while got[-1] != b"last":
    data, client = one.recvfrom(100)
    got.append(data)
    one.sendto(data, client)
print(got.count(b"more"), flush=True)
"""
SEND = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(20)
    for data in [b"more"] * 10 + [b"last"]:
        one.sendto(data, ("{ADDRESS}", 9))
        one.recv(100)
"""


@pytest.mark.parametrize("near", [[], ["near"]])
def test_a_packet_comes_once_where_the_namespace_forwards(
    container: Container,
    network_program: Path,
    namespace: Callable[..., Namespace],
    tmp_path: Path,
    near: list[str],
) -> None:
    """A new namespace forwards packets where this host does, as one with docker."""
    neighbour, engine = connected(namespace)
    engine.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    helper = Helper(network_program, engine, tmp_path, *near)
    helper.give(container.connection)
    assert container.answer() == b"k"
    server = container.inside.start(COUNT)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    neighbour.run("python3", "-c", SEND)
    assert server.communicate(timeout=20)[0] == "10\n"
    helper.end()


def test_another_interface_leads_there_instead(
    container: Container, network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    _, engine = connected(namespace)
    helper = Helper(network_program, engine, tmp_path, "near")
    helper.give(container.connection)
    assert container.answer() == b"k"
    engine.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    engine.run("ip", "address", "add", "10.8.0.2/24", "dev", "eth1")
    engine.run("ip", "link", "set", "eth1", "up")
    wait_for(lambda: "10.8.0.2/24" in container.inside.run("ip", "address"))
    engine.run("ip", "link", "delete", "eth0")
    wait_for(lambda: "eth0" not in container.inside.run("ip", "link"))
    server = container.inside.start(LISTEN.format("127.0.0.1", "AF_INET"))
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    for _ in range(2):
        assert engine.run("python3", "-c", CONNECT.format("127.0.0.1")) == "1000000\n"
        assert server.stdout.readline() == "169.254.77.77\n"
    server.communicate(timeout=20)
    helper.end()


FLOOD = """
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for number in range(20000):
        one.sendto(bytes(1400), ("10.9.0.255", 9))
        if not number % 50:
            time.sleep(0.001)
"""


@pytest.fixture
def crowded(
    network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> Iterator[tuple[Helper, Namespace, socket.socket]]:
    """A scrun-network whose connection takes nothing more, the engine's namespace, and the other end."""
    neighbour, engine = connected(namespace)
    ours, theirs = socket.socketpair()
    helper = Helper(network_program, engine, tmp_path, "names")
    helper.hear(b"n")
    helper.give(theirs)
    neighbour.run("python3", "-c", FLOOD)
    ours.settimeout(20)
    yield helper, engine, ours
    ours.close()
    helper.end()


def test_what_the_network_is_waits_for_room(crowded: tuple[Helper, Namespace, socket.socket]) -> None:
    helper, engine, ours = crowded
    engine.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    engine.run("ip", "address", "add", "10.8.0.2/24", "dev", "eth1")
    engine.run("ip", "link", "set", "eth1", "up")
    while b" eth1 " not in helper.hear(b"n"):
        pass
    while b" eth1 " not in read_frame(ours, CONFIG):
        pass


def test_a_suspended_node_may_take_nothing(
    network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    """The kernel ends a connection after TCP_USER_TIMEOUT also where the peer's kernel answers that it has no room."""
    _, engine = connected(namespace)
    helper = Helper(network_program, engine, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs.dup() as same:
        helper.give(theirs)
        read_frame(ours, CONFIG)
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    helper.end()


ANSWER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("127.0.0.11", 53))
    print("ready", flush=True)
    question, client = one.recvfrom(100)
    input()
    one.sendto(question, client)
"""


def test_an_answer_waits_for_room(crowded: tuple[Helper, Namespace, socket.socket]) -> None:
    helper, engine, ours = crowded
    words = engine.entered("python3", "-c", ANSWER)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdin
        assert server.stdout.readline() == b"ready\n"
        ours.sendall(frame(NAMES, bytes(2) + b"a question"))
        server.communicate(b"\n", timeout=20)
    wait_for(lambda: all(Path(f"/proc/{helper.process.pid}/stat").read_text().split()[2] == "S" for _ in range(1000)))
    assert read_frame(ours, NAMES) == bytes(2) + b"a question"


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("text", CONFIGS)
def test_the_container_gets_what_login_says(container: Container, text: str) -> None:
    container.connection.sendall(frame(CONFIG, text.encode()))
    assert read_frame(container.connection, CONFIGURED)[:1] == b"k"
    assert container.answer() == b"k"
    links = [line.split()[1].rstrip(":") for line in container.inside.run("ip", "-o", "link").splitlines()]
    assert links == ["lo", *[line.split()[2] for line in text.splitlines() if line.startswith("link")]]
    links_of = Path("/tmp", container.node.meeting)
    assert os.stat(links_of / "net").st_ino == os.stat(f"/proc/{container.node.pid}/ns/net").st_ino
    container.node.login.end()
    assert container.node.is_gone()
    wait_for(lambda: not links_of.exists())


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A directory with files of somebody else's, to which a link in /tmp leads."""
    directory = tmp_path / "others"
    directory.mkdir()
    for name in ("net", "user", "s"):
        (directory / name).touch()
    return directory


def test_somebody_elses_link_is_not_followed(node: MakeNode, namespace: Callable[..., Namespace], others: Path) -> None:
    one = node("60")
    Path("/tmp", one.meeting).symlink_to(others)
    try:
        container = Container(one, namespace())
        container.connection.sendall(frame(CONFIG, CONFIGS[0].encode()))
        assert read_frame(container.connection, CONFIGURED) == b"k" + os.fsencode(one.place)
        assert container.answer() == b"k"
        assert os.stat(one.place / "net").st_ino == os.stat(f"/proc/{one.pid}/ns/net").st_ino
        one.login.end()
        assert one.is_gone()
        container.connection.close()
        assert len([*others.iterdir()]) == 3
    finally:
        Path("/tmp", one.meeting).unlink()


def test_a_link_after_a_cleaner_is_not_followed(container: Container, others: Path) -> None:
    node = container.node
    container.connection.sendall(frame(CONFIG, CONFIGS[0].encode()))
    assert container.answer() == b"k"
    for ours in (Path("/tmp", node.meeting), node.place):
        shutil.rmtree(ours)
        ours.symlink_to(others)
    try:
        node.login.end()
        node.first.wait()
        wait_for(lambda: not node.left())
        assert len([*others.iterdir()]) == 3
    finally:
        node.place.unlink()
        Path("/tmp", node.meeting).unlink()


def test_flush_removes_a_killed_agents_links(container: Container) -> None:
    node = container.node
    container.connection.sendall(frame(CONFIG, CONFIGS[0].encode()))
    assert container.answer() == b"k"
    node.login.run(1, "sh", "-c", "echo $PPID")
    os.kill(int(node.login.output(1)[0]), signal.SIGKILL)
    assert Path("/tmp", node.meeting).exists()
    assert node.hook
    node.hook.communicate()
    node.run_hook("flush")
    assert node.hook.wait(20) == 0
    assert not Path("/tmp", node.meeting).exists()
    assert not node.place.exists()


@pytest.mark.parametrize("text", ["link 0 eth0\n", "near 3\n", "address 0 0a090002 24\n", "more\n", "names", "\n"])
def test_what_it_does_not_know_is_said(container: Container, text: str) -> None:
    container.connection.sendall(frame(CONFIG, text.encode()))
    assert container.answer() == b"elogin says of the network what this version doesn't know"


@pytest.mark.parametrize("tags", ["", "81000000", "88a80000", "81000000" * 2, "88a8e00081000000"])
def test_the_engines_network_cannot_reach_loopback(container: Container, tags: str) -> None:
    """The kernel takes a frame of VLAN 0 for one without a tag, and so on (IEEE 802.1Q, 802.1ad)."""
    listen = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 9)); "
    listen += "print('ready', flush=True); print(s.recv(100), flush=True)"
    container.connection.sendall(frame(CONFIG, (CONFIGS[0] + "near 0\n").encode()))
    assert container.answer() == b"k"
    server = container.inside.start(listen)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    tagged = datagram(b"forged")
    tagged = tagged[:12] + bytes.fromhex(tags) + tagged[12:]
    container.connection.sendall(frame(0, bytes(10) + tagged) + frame(16, bytes(10) + datagram(b"near")))
    assert server.communicate(timeout=20)[0] == "b'near'\n"


def datagram(data: bytes) -> bytes:
    """An Ethernet frame to 127.0.0.1 port 9, from 169.254.77.77."""
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 0, 0, 64, 17, 0, bytes([169, 254, 77, 77]), bytes([127, 0, 0, 1])
    )
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return bytes.fromhex(MAC) * 2 + b"\x08\0" + header + struct.pack(">HHHH", 1000, 9, 8 + len(data), 0) + data


def noise(draw: random.Random, config: bytes) -> bytes:
    """Frames of every kind, most of them of the right form."""
    made = b""
    for _ in range(60):
        channel = draw.choice([0, 1, 15, 16, 17, CONFIG, CONFIGURED, NAMES, 255])
        payload = draw.choice(
            [draw.randbytes(draw.randrange(200)), b"", bytes(10) + datagram(draw.randbytes(20)), b"\1\0" + bytes(40)]
        )
        if channel == CONFIG:
            text = bytearray(config * 2 or b"x")
            text[draw.randrange(len(text))] = draw.randrange(256)
            payload = bytes(text) if draw.randrange(2) else draw.randbytes(50)
        made += frame(channel, payload)
    return made + draw.choice([b"", b"\xff" * 4, frame(0, bytes(67585)), draw.randbytes(7)])


@pytest.mark.parametrize("seed", range(4))
def test_no_frames_harm_the_node(container: Container, seed: int) -> None:
    draw = random.Random(seed)
    container.connection.sendall(frame(CONFIG, CONFIGS[0].encode()))
    assert container.answer() == b"k"
    for _ in range(3):
        try:
            container.connection.sendall(noise(draw, CONFIGS[0].encode()))
            while container.connection.recv(65536):
                pass
        except OSError:
            pass
        container.connection.close()
        container.connection = accept(container.node)
        container.connection.settimeout(1)


@pytest.mark.parametrize("seed", range(4))
def test_no_frames_harm_login(
    network_program: Path, namespace: Callable[..., Namespace], tmp_path: Path, seed: int
) -> None:
    _, engine = connected(namespace)
    helper = Helper(network_program, engine, tmp_path, *(["near", "names"][: seed % 3]))
    helper.hear(b"n")
    draw = random.Random(seed)
    for _ in range(3):
        ours, theirs = socket.socketpair()
        helper.give(theirs)
        ours.settimeout(1)
        try:
            ours.sendall(noise(draw, b""))
            while ours.recv(65536):
                pass
        except OSError:
            pass
        ours.close()
    helper.end()
