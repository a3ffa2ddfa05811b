"""The engines' own networks, as docker and podman promise them: each case with scrun and with the local runtime beside.

A container of scrun's is on a node, and still has its ports on the login host, its name and address on the engine's
network, and nothing but these.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .engines import Engine, make, network
from .users import User
from .waiting import wait_until

LOGIN = "10.77.0.10"
SERVE = ("sh", "-c", "mkdir -p /tmp/w; echo $WORD >/tmp/w/a; exec httpd -f -p $PORT -h /tmp/w")
ASK = "until wget -T 2 -q -O - http://{}/a; do sleep 0.2; done"
ECHO = b"""
#include <netinet/in.h>
#include <sys/socket.h>
int main(void) {
    char bytes[100];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(9000)}, from;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (void *)&at, sizeof at)) return 1;
    for (;;) {
        socklen_t size = sizeof from;
        int length = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &size);
        if (length > 0) sendto(fd, bytes, length, 0, (void *)&from, size);
    }
}
"""
ASK_BY_TCP = rb"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) { /* SERVER NAME: how many answers there are to a question for an address */
    unsigned char q[300] = {0, 0, 7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, a[600];
    int n = 14, length = strlen(words[2]), got = 0, more;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
    q[n++] = length;
    memcpy(q + n, words[2], length);
    n += length + 1;
    q[n + 1] = q[n + 3] = 1;
    q[1] = n + 2;
    inet_pton(AF_INET, words[1], &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&at, sizeof at)) return 1;
    write(fd, q, n + 4);
    while (got < 14 && (more = read(fd, a + got, sizeof a - got)) > 0) got += more;
    if (got >= 14) printf("%d answer\n", a[9] );
    return count != 3;
}
"""
NetworkOf = Callable[..., str]


@pytest.fixture(params=["scrun", "beside"])
def engine(request: pytest.FixtureRequest, main_engine: Engine) -> Engine:
    """docker as root and rootless podman, with scrun and with the runtime that they have by themselves."""
    if request.param == "beside":
        main_engine.runtime = "crun" if main_engine.is_podman else "runc"
    return main_engine


@pytest.fixture
def other(engine: Engine, alice: User, root: User) -> Iterator[Engine]:
    """The same engine with the local runtime, whatever ``engine`` has."""
    made = make("podman" if engine.is_podman else "docker", "crun" if engine.is_podman else "runc", alice, root)
    yield made
    made.clean_up()


@pytest.fixture
def make_network(engine: Engine) -> Iterator[NetworkOf]:
    """Make a network of the user's own, and return its name."""
    made = []

    def create(*options: str) -> str:
        made.append(f"test-{uuid.uuid4().hex[:8]}")
        engine.call("network", "create", *options, made[-1]).ok()
        return made[-1]

    yield create
    for name in reversed(engine.made):
        engine.remove(name)
    engine.made.clear()
    for name in made:
        engine.call("network", "rm", name).ok()


@pytest.fixture
def ask_by_tcp(engine: Engine) -> Iterator[Path]:
    """A program that asks a name server over TCP."""
    directory = engine.user.mkdir(Path(f"/var/tmp/ask-{uuid.uuid4().hex[:8]}"))
    program = directory / "ask"
    subprocess.run(["gcc", "-static", "-x", "c", "-o", program, "-"], input=ASK_BY_TCP, check=True)
    yield program
    program.unlink()
    directory.rmdir()


def server(engine: Engine, *options: str, port: int = 80, word: str = "hello") -> str:
    """A container that serves a word; its name."""
    return engine.detached(*SERVE, options=("-e", f"WORD={word}", "-e", f"PORT={port}", *options))


def fetched(address: str) -> str:
    """What a client on the login host gets there, when the server is ready."""

    def ask() -> str:
        return subprocess.run(
            ["busybox", "wget", "-T", "3", "-q", "-O", "-", f"http://{address}/a"], capture_output=True, check=False
        ).stdout.decode()

    return wait_until(ask, f"{address} answers")


def asks(engine: Engine, address: str, *options: str) -> str:
    """What a client in a container gets there, when the server is ready."""
    return engine.run("sh", "-c", ASK.format(address), options=("--rm", *options)).ok().stdout


def asks_from(engine: Engine, name: str, address: str) -> str:
    """What a running container gets there, when the server is ready."""
    words = ("exec", name, "wget", "-T", "2", "-q", "-O", "-", f"http://{address}/a")
    return wait_until(lambda: engine.call(*words).stdout, f"{address} answers {name}")


def node_of(engine: Engine, name: str) -> str:
    """On which node a container of scrun's is; empty with another runtime."""
    return engine.call("exec", name, "sh", "-c", "echo $SLURMD_NODENAME").ok().stdout.strip()


def test_published_ports_are_open_on_login(engine: Engine) -> None:
    """And one that is published at an address is open there alone."""
    before = network()
    name = server(engine, "-p", "18081:80", "-p", "127.0.0.1:18085:80")
    assert "18081" in engine.call("port", name).ok().stdout
    for host in ("127.0.0.1", LOGIN, *([] if engine.has_old_pasta else ["[::1]"])):
        assert fetched(f"{host}:18081") == "hello\n"
    assert fetched("127.0.0.1:18085") == "hello\n"
    done = subprocess.run(["busybox", "wget", "-T", "3", "-q", "-O", "-", f"http://{LOGIN}:18085/a"], check=False)
    assert done.returncode
    assert node_of(engine, name) in (("node1", "node2") if engine.runtime == "scrun" else ("",))
    assert network() == before


def test_two_containers_may_have_the_same_port(engine: Engine) -> None:
    place = ("-e", "SCRUN_JOB_NODELIST=node1")
    server(engine, "-p", "18082:80", *place, word="one")
    server(engine, "-p", "18083:80", *place, word="two")
    assert (fetched("127.0.0.1:18082"), fetched("127.0.0.1:18083")) == ("one\n", "two\n")


def test_a_user_may_listen_below_1024(engine: Engine) -> None:
    if engine.runtime == "crun":
        pytest.skip("alice has one user id only, and crun can't give the container another one")
    server(engine, "-p", "18084:80", "--user=1000")
    assert fetched("127.0.0.1:18084") == "hello\n"


def test_datagrams_reach_a_published_port(engine: Engine, directory: Path) -> None:
    program = directory / "echo"
    subprocess.run(["gcc", "-static", "-x", "c", "-o", program, "-"], input=ECHO, check=True)
    engine.detached("/echo", options=("-p", "18086:9000/udp", "-v", f"{program}:/echo:ro"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)

        def answer() -> bytes:
            client.sendto(b"word", (LOGIN, 18086))
            try:
                return client.recv(100)
            except OSError:
                return b""

        assert wait_until(answer, "a datagram was answered") == b"word"


def test_a_network_has_its_names_and_addresses(
    engine: Engine, other: Engine, make_network: NetworkOf, ask_by_tcp: Path
) -> None:
    six = f"fd00:77:{os.getpid() % 0xFFFF:x}::"
    where = f"--network={make_network('--subnet=172.31.250.0/24', '--ipv6', f'--subnet={six}/64')}"
    local = server(other, where, word="local")
    serve = "mkdir -p /tmp/w; echo ours >/tmp/w/a; exec httpd -f -p [::]:80 -h /tmp/w"
    chosen = (where, "--network-alias=db", "--ip=172.31.250.77", "--add-host=far:1.2.3.4")
    ours = engine.detached("sh", "-c", serve, options=chosen)
    described = engine.inspect(ours)
    (attached,) = described["NetworkSettings"]["Networks"].values()
    assert attached["GlobalIPv6Address"].startswith(six[:-1])

    asked = [local, ours, "db", "172.31.250.77", f"[{attached['GlobalIPv6Address']}]"]
    script = "".join(f"echo '{one}' $({ASK.format(one)})\n" for one in asked)
    script += "nslookup no-such-name >/dev/null || echo unknown; ip route | grep -c ^default\n"
    script += f"until /ask $(sed -n 's/^nameserver //p' /etc/resolv.conf | head -1) {ours}; do sleep 0.2; done"
    options = ("--rm", where, "-v", f"{ask_by_tcp}:/ask:ro", "-e", "SCRUN_JOB_NODELIST=node2")
    said = engine.run("sh", "-c", script, options=options).ok().stdout.splitlines()
    served = [f"{one} {'local' if one == local else 'ours'}" for one in asked]
    assert said == [*served, "unknown", "1", "1 answer"]
    assert asks(other, ours, where) == "ours\n"
    other.clean_up()
    other.made.clear()

    inside = "ip -o -4 addr show eth0; ip -o link show eth0; for f in hosts resolv.conf; do echo ==; cat /etc/$f; done"
    links, *files = engine.call("exec", ours, "sh", "-c", inside).ok().stdout.split("==\n")
    assert f"inet {attached['IPAddress']}/{attached['IPPrefixLen']} " in links
    assert attached["MacAddress"] in links.replace("link/ether ", "")
    assert files == [Path(described[path]).read_text() for path in ("HostsPath", "ResolvConfPath")]


def test_an_internal_network_has_no_way_out(engine: Engine, make_network: NetworkOf) -> None:
    where = f"--network={make_network('--internal')}"
    server(engine, where, "--network-alias=near")
    script = f"{ASK.format('near')}; ip route | grep -c ^default; true"
    assert engine.run("sh", "-c", script, options=("--rm", where)).ok().stdout == "hello\n0\n"


def test_none_is_a_loopback_only(engine: Engine) -> None:
    printed = engine.run("ip", "-o", "-4", "addr", options=("--rm", "--network=none", "-e", "SCRUN_NET=engine")).ok()
    assert [line.split()[1] for line in printed.stdout.splitlines()] == ["lo"]


def test_much_goes_through_as_it_is(engine: Engine) -> None:
    script = "head -c 30000000 /dev/zero | tr '\\0' x >/tmp/a; exec httpd -f -p 80 -h /tmp"
    engine.detached("sh", "-c", script, options=("-p", "18087:80"))
    assert wait_until(lambda: len(fetched("127.0.0.1:18087")) == 30_000_000, "all of it came")


def addresses(engine: Engine, name: str) -> set[str]:
    """The interfaces of a running container, with their IPv4 addresses."""
    printed = engine.call("exec", name, "sh", "-c", "ip -o -4 addr | tr -s ' ' | cut -d' ' -f2,4").ok().stdout
    return set(printed.splitlines()) - {"lo 127.0.0.1/8"}


def test_it_may_be_on_two_networks(engine: Engine, make_network: NetworkOf) -> None:
    one, two = make_network("--subnet=172.31.251.0/24"), make_network("--subnet=172.31.252.0/24")
    for where in (one, two):
        server(engine, f"--network={where}", f"--network-alias=in-{where}", word=where)
    both = engine.detached("sleep", "1000", options=(f"--network={one}",))
    assert {line.split()[0] for line in addresses(engine, both)} == {"eth0"}
    engine.call("network", "connect", two, both).ok()
    wait_until(lambda: "172.31.252." in str(addresses(engine, both)), "the other network's address is there")
    assert {asks_from(engine, both, f"in-{where}") for where in (one, two)} == {f"{one}\n", f"{two}\n"}
    engine.call("network", "disconnect", two, both).ok()
    wait_until(lambda: "172.31.252." not in str(addresses(engine, both)), "the address has gone")
    assert "172.31.251." in str(addresses(engine, both))


def test_docker_connects_before_the_start_too(engine: Engine, make_network: NetworkOf) -> None:
    one, two = make_network("--subnet=172.31.253.0/24"), make_network("--subnet=172.31.254.0/24")
    name = engine.name()
    engine.call("create", *engine.words(f"--network={one}", command=("sleep", "1000"), name=name)[1:]).ok()
    engine.call("network", "connect", two, name).ok()
    engine.call("start", name).ok()
    found = wait_until(lambda: addresses(engine, name), "it runs")
    assert {line[:12] for line in found} == {"eth0 172.31.", "eth1 172.31."}
