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


def test_a_published_port_is_open_on_login(engine: Engine) -> None:
    before = network()
    name = server(engine, "-p", "18081:80")
    assert "18081" in engine.call("port", name).ok().stdout
    for host in ("127.0.0.1", LOGIN, *([] if engine.has_old_pasta else ["[::1]"])):
        assert fetched(f"{host}:18081") == "hello\n"
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


def test_a_port_is_on_its_address_alone(engine: Engine) -> None:
    server(engine, "-p", "127.0.0.1:18085:80")
    assert fetched("127.0.0.1:18085") == "hello\n"
    done = subprocess.run(["busybox", "wget", "-T", "3", "-q", "-O", "-", f"http://{LOGIN}:18085/a"], check=False)
    assert done.returncode


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


def test_containers_of_a_network_resolve_names(engine: Engine, other: Engine, make_network: NetworkOf) -> None:
    where = f"--network={make_network()}"
    local, ours = server(other, where, word="local"), server(engine, where, word="ours", port=5432)
    assert asks(engine, local, where) == "local\n"
    assert asks(other, f"{ours}:5432", where) == "ours\n"
    assert asks(engine, f"{ours}:5432", where, "-e", "SCRUN_JOB_NODELIST=node2") == "ours\n"
    other.clean_up()
    other.made.clear()


def test_an_alias_is_a_name_too(engine: Engine, make_network: NetworkOf) -> None:
    where = f"--network={make_network()}"
    server(engine, where, "--network-alias=db")
    assert asks(engine, "db", where) == "hello\n"


def test_an_address_can_be_chosen(engine: Engine, make_network: NetworkOf) -> None:
    where = f"--network={make_network('--subnet=172.31.250.0/24')}"
    server(engine, where, "--ip=172.31.250.77")
    assert asks(engine, "172.31.250.77", where) == "hello\n"


def test_an_unknown_name_is_unknown(engine: Engine, make_network: NetworkOf) -> None:
    done = engine.run("nslookup", "no-such-name", options=("--rm", f"--network={make_network()}"))
    assert done.status == 1


def test_only_an_internal_network_has_no_way_out(engine: Engine, make_network: NetworkOf) -> None:
    routes = ("sh", "-c", "ip route | grep -c ^default; true")
    for options, ways in (((), "1\n"), (("--internal",), "0\n")):
        where = f"--network={make_network(*options)}"
        assert engine.run(*routes, options=("--rm", where)).ok().stdout == ways
        server(engine, where, "--network-alias=near")
        assert asks(engine, "near", where) == "hello\n"


def test_its_addresses_are_the_engines(engine: Engine, make_network: NetworkOf) -> None:
    name = engine.detached("sleep", "1000", options=(f"--network={make_network()}",))
    (one,) = engine.inspect(name)["NetworkSettings"]["Networks"].values()
    printed = engine.call("exec", name, "sh", "-c", "ip -o -4 addr show eth0; ip -o link show eth0").ok().stdout
    assert f"inet {one['IPAddress']}/{one['IPPrefixLen']} " in printed
    assert one["MacAddress"] in printed.replace("link/ether ", "")


def test_with_ipv6_it_has_both(engine: Engine, make_network: NetworkOf) -> None:
    number = os.getpid() % 0xFFFF
    where = f"--network={make_network('--ipv6', f'--subnet=fd00:77:{number:x}::/64')}"
    serve = "mkdir -p /tmp/w; echo six >/tmp/w/a; exec httpd -f -p [::]:80 -h /tmp/w"
    name = engine.detached("sh", "-c", serve, options=(where,))
    (one,) = engine.inspect(name)["NetworkSettings"]["Networks"].values()
    assert one["GlobalIPv6Address"].startswith("fd00:77:")
    assert asks(engine, f"[{one['GlobalIPv6Address']}]", where) == "six\n"


def test_its_hosts_and_name_servers_are_the_engines(engine: Engine, make_network: NetworkOf) -> None:
    name = engine.detached("sleep", "1000", options=(f"--network={make_network()}", "--add-host=far:1.2.3.4"))
    described = engine.inspect(name)
    for key, path in (("HostsPath", "/etc/hosts"), ("ResolvConfPath", "/etc/resolv.conf")):
        assert engine.call("exec", name, "cat", path).ok().output == Path(described[key]).read_bytes()


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


def test_names_are_answered_by_streams_too(engine: Engine, make_network: NetworkOf) -> None:
    where = f"--network={make_network()}"
    name = server(engine, where)
    program = engine.user.mkdir(Path(f"/var/tmp/ask-{uuid.uuid4().hex[:8]}")) / "ask"
    try:
        subprocess.run(["gcc", "-static", "-x", "c", "-o", program, "-"], input=ASK_BY_TCP, check=True)
        asking = ("--rm", where, "-v", f"{program}:/ask:ro")
        script = f"exec /ask $(sed -n 's/^nameserver //p' /etc/resolv.conf | head -1) {name}"
        assert (
            wait_until(lambda: engine.run("sh", "-c", script, options=asking).stdout, "it is answered") == "1 answer\n"
        )
    finally:
        program.unlink()
        program.parent.rmdir()
