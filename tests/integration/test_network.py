"""The network of a container that isn't on the engine's: its node's where that leads anywhere, none where it doesn't.

test_engine_networks.py is about the other mode."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .engines import Engine, network
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no node")

ADDRESSES = ("sh", "-c", "ip -o -4 addr | tr -s ' ' | cut -d' ' -f2,4")
NODES = ("-e", "SCRUN_NET=node")  # where "auto" would take the engine's
LOOPBACK = ["lo 127.0.0.1/8"]
RESOLV_CONF, HOSTS = ("cat", "/etc/resolv.conf"), ("cat", "/etc/hosts")


def addresses(engine: Engine, *options: str) -> list[str]:
    """What the container's interfaces have."""
    return engine.run(*ADDRESSES, options=("--rm", *options)).ok().stdout.split("\n")[:-1]


def has_the_nodes(found: list[str]) -> bool:
    """Whether these are a node's own, by the cluster's private network."""
    return [line for line in found if line.startswith("eth0 10.77.0.1") and line != "eth0 10.77.0.10/24"] != []


@pytest.fixture
def internal(main_engine: Engine) -> Iterator[str]:
    """A network that no way leads out of."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    main_engine.call("network", "create", "--internal", name).ok()
    yield name
    main_engine.call("network", "rm", name).ok()


@pytest.fixture
def own(main_engine: Engine) -> Iterator[str]:
    """A network of the user's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    main_engine.call("network", "create", name).ok()
    yield name
    main_engine.call("network", "rm", name).ok()


def test_without_an_option_it_is_the_nodes(main_engine: Engine) -> None:
    before = network()
    assert has_the_nodes(addresses(main_engine))
    assert network() == before


def test_rootless_dockers_networks(engine: Engine) -> None:
    # It may not make a bridge on the login's network, and "none" is its default then.
    if engine.is_podman or engine.user.name == "root":
        pytest.skip("a rootless docker's own case")
    assert addresses(engine) == LOOPBACK
    assert has_the_nodes(addresses(engine, "--network=host"))


def test_none_is_a_loopback_only(engine: Engine) -> None:
    before = network()
    assert addresses(engine, "--network=none") == LOOPBACK
    assert network() == before


def test_host_is_the_nodes(engine: Engine) -> None:
    assert has_the_nodes(addresses(engine, "--network=host"))


def test_users_own_network_is_the_nodes(main_engine: Engine, own: str) -> None:
    assert has_the_nodes(addresses(main_engine, f"--network={own}", *NODES))


def test_an_internal_network_is_a_loopback_only(main_engine: Engine, internal: str) -> None:
    assert addresses(main_engine, f"--network={internal}", *NODES) == LOOPBACK


@pytest.mark.parametrize("kind", ["pasta", "slirp4netns", "bridge"])
def test_each_of_podmans_is_the_nodes(podman: Engine, kind: str) -> None:
    assert has_the_nodes(addresses(podman, f"--network={kind}", *NODES))


@pytest.mark.parametrize(("kind", "is_the_nodes"), [("none", False), ("pasta", True)])
def test_network_set_up_after_create_is_the_same(podman: Engine, kind: str, is_the_nodes: bool) -> None:
    assert has_the_nodes(addresses(podman, "--userns=keep-id", f"--network={kind}")) == is_the_nodes


@pytest.mark.parametrize(("kind", "is_the_nodes"), [("none", False), ("host", True)])
def test_another_containers_network_is_as_that(main_engine: Engine, kind: str, is_the_nodes: bool) -> None:
    other = main_engine.detached("sleep", "1000", options=(f"--network={kind}",))
    assert has_the_nodes(addresses(main_engine, f"--network=container:{other}")) == is_the_nodes


def test_a_node_can_be_reached_from_it(main_engine: Engine) -> None:
    name = main_engine.detached(
        "sh", "-c", "mkdir /w; echo hello >/w/a; echo $SLURMD_NODENAME; exec httpd -f -p 8055 -h /w"
    )
    node = wait_until(lambda: main_engine.call("logs", name).stdout.strip(), "it says its node")
    script = f"until wget -q -O - http://{node}:8055/a; do sleep 0.1; done"
    assert main_engine.run("sh", "-c", script, options=("--rm",)).stdout == "hello\n"


def hosts(engine: Engine, *options: str) -> tuple[str, list[list[str]]]:
    """The container's name, and the words of each line of its /etc/hosts."""
    name = engine.name()
    printed = engine.call(*engine.words("--rm", *options, command=HOSTS, name=name)).ok().stdout
    return name, [line.split() for line in printed.splitlines()]


def test_own_name_resolves_and_name_servers_are_reachable(main_engine: Engine) -> None:
    name, lines = hosts(main_engine, "--hostname=named", "--add-host=other:1.2.3.4")
    names = ["named", name] if main_engine.is_podman else ["named"]
    assert [line for line in lines if "named" in line[1:]] == [["127.0.0.1", *names]]
    assert ["1.2.3.4", "other"] in lines
    assert main_engine.run(*RESOLV_CONF, options=("--rm",)).ok().stdout.split() == ["nameserver", "10.77.0.1"]


@pytest.mark.parametrize("where", [(), ("--network=host",)], ids=["own", "host"])
def test_the_login_host_has_a_name(main_engine: Engine, where: tuple[str, ...]) -> None:
    options = (*where, "--add-host=gate:host-gateway", *NODES)
    names = ["gate", *(["host.containers.internal"] if main_engine.is_podman else [])]
    with socket.create_server(("", 0)) as server:

        def greet() -> None:
            for _name in names:
                connection, _address = server.accept()
                connection.sendall(b"hello\n")
                connection.close()

        threading.Thread(target=greet, daemon=True).start()
        script = f'for name in "$@"; do nc -w 5 $name {server.getsockname()[1]} </dev/null; done'
        done = main_engine.run("sh", "-c", script, "sh", *names, options=("--rm", *options)).ok()
    assert done.stdout == "hello\n" * len(names)


def test_the_engines_network_has_the_engines_name(main_engine: Engine) -> None:
    _name, lines = hosts(main_engine, "--add-host=gate:host-gateway", "-p", "18057:80")
    assert [line[0] for line in lines if "gate" in line[1:]] not in ([], ["10.77.0.10"])


def test_what_podmans_user_wants_of_hosts_is_kept(podman: Engine, directory: Path) -> None:
    """The names that are given, also the container's own, and a base of the user's."""
    podman.user.write(directory / "hosts", "1.2.3.4 base\n")
    podman.user.write(directory / "conf", f'[containers]\nbase_hosts_file = "{directory}/hosts"\n')
    podman.env = {**(podman.env or {}), "CONTAINERS_CONF_OVERRIDE": f"{directory}/conf"}
    _name, lines = hosts(podman, "--hostname=named", "--add-host=also;named:10.9.8.7")
    assert [line for line in lines if "named" in line] == [["10.9.8.7", "also", "named"]]
    assert ["1.2.3.4", "base"] in lines
    assert not [line for line in lines if "node1" in line]


def test_name_servers_that_are_asked_for_are_there(engine: Engine) -> None:
    options = ("--rm", "--network=host", "--dns=9.9.9.9", "--dns-search=example.org", "--dns-option=ndots:3")
    found = engine.run(*RESOLV_CONF, options=options).ok().stdout
    lines = [line for line in found.splitlines() if line and not line.startswith("#")]
    assert sorted(lines) == ["nameserver 9.9.9.9", "options ndots:3", "search example.org"]


def test_a_published_port_is_open(main_engine: Engine) -> None:
    serve = "mkdir /w; echo hello >/w/a; echo $SLURMD_NODENAME; exec httpd -f -p 8056 -h /w"
    name = main_engine.detached("sh", "-c", serve, options=("-p", "18056:80", *NODES))
    assert "18056" in main_engine.call("port", name).ok().stdout
    node = wait_until(lambda: main_engine.call("logs", name).stdout.strip(), "it says its node")
    script = f"until wget -q -O - http://{node}:8056/a; do sleep 0.1; done"
    assert main_engine.run("sh", "-c", script, options=("--rm",)).stdout == "hello\n"


def test_hosts_and_name_servers_are_current(main_engine: Engine) -> None:
    name = main_engine.name()
    main_engine.call(*main_engine.words(command=("sh", "-c", "wc -l </etc/hosts"), name=name)).ok()
    first = main_engine.call("logs", name).stdout
    assert int(first) > 1
    assert main_engine.call("start", "--attach", name).ok().stdout == first
