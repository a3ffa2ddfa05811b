"""Which network a container gets on its node is told by the namespace that its engine made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scrun.lifecycle.container import network

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
SUBNET = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
UNREACHABLE = "*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n"
ZERO = "0" * 32
DEFAULT6 = f"{ZERO} 00 {ZERO} 00 fe80{'0' * 28} 00000400 00000001 00000000 00000003 eth0\n"
BORN6 = f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200 lo\n"
LOOPBACK6 = f"{ZERO} 00 {ZERO} 00 {ZERO} 00000400 00000001 00000000 00000003 lo\n"
UNREACHABLE6 = f"{ZERO} 00 {ZERO} 00 {ZERO} 00000400 00000001 00000000 00200200 eth0\n"
LINK6 = f"fe80{'0' * 28} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001 eth0\n"


@pytest.mark.parametrize(
    ("route", "ipv6_route", "out"),
    [
        (HEAD + DEFAULT + SUBNET, BORN6, True),
        (HEAD, BORN6 + DEFAULT6, True),
        (HEAD + SUBNET, BORN6 + LINK6, False),  # an internal network
        (HEAD, BORN6, False),  # --network none
        (HEAD + UNREACHABLE, BORN6, False),
        (HEAD, UNREACHABLE6, False),
        (HEAD, LOOPBACK6, False),  # a way, but not out
        ("", "", False),
        (HEAD + "nonsense\n", "nonsense", False),
    ],
)
def test_only_a_default_route_leads_out(tmp_path: Path, route: str, ipv6_route: str, out: bool) -> None:
    (tmp_path / "route").write_text(route)
    (tmp_path / "ipv6_route").write_text(ipv6_route)
    assert network.leads_out(str(tmp_path)) == out


def test_what_cannot_be_read_does_not_lead_out(tmp_path: Path) -> None:
    assert not network.leads_out(str(tmp_path))


def config(**namespace: str) -> Any:
    return {"linux": {"namespaces": [{"type": "pid"}, {"type": "network", **namespace}]}}


def test_a_missing_or_own_namespace_means_host_network() -> None:
    cases: list[Any] = [{}, {"linux": {}}, {"linux": {"namespaces": [{"type": "pid"}]}}]
    for without in cases:
        assert network.wanted(without) == network.HOST
    assert network.wanted(config(path="/proc/self/ns/net")) == network.HOST


def test_a_new_namespace_is_looked_at_later() -> None:
    assert network.wanted(config()) == network.LATER
    assert network.wanted(config(path="")) == network.LATER


@pytest.mark.parametrize("path", ["/nosuch", "/proc/self/ns/mnt", "/etc/passwd"])
def test_one_that_cannot_be_joined_is_no_network(path: str) -> None:
    assert network.wanted(config(path=path)) == network.NONE


def test_a_pipe_as_namespace_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert network.wanted(config(path=str(tmp_path / "pipe"))) == network.NONE


@pytest.fixture
def namespace() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace of its own, with a link."""
    script = "ip link add one type veth peer name two; ip addr add 192.0.2.2/24 dev one; ip link set one up; echo; cat"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a right to make network namespaces")
def test_one_with_a_path_is_seen_from_inside(namespace: subprocess.Popen[bytes]) -> None:
    path = f"/proc/{namespace.pid}/ns/net"
    assert network.wanted(config(path=path)) == network.NONE
    route = "ip route add default via 192.0.2.1 dev one onlink"
    subprocess.run(["nsenter", "--net", f"--target={namespace.pid}", *route.split()], check=True)
    assert network.wanted(config(path=path)) == network.NODE
    assert os.readlink("/proc/self/ns/net") != os.readlink(path), "only a child went there"


def hooked(*args: str, path: str = f"/proc/{os.getpid()}/exe") -> Any:
    return {"ociVersion": "1.1.0", "hooks": {"prestart": [{"path": path, "args": [*args]}]}}


@pytest.fixture
def dockerd(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's program passes for docker's daemon."""
    monkeypatch.setattr(network, "_DOCKERD", os.path.basename(os.readlink("/proc/self/exe")))


@pytest.mark.usefixtures("dockerd")
def test_dockers_network_hook_is_recognized() -> None:
    value = hooked("libnetwork-setkey", "-exec-root=/var/run/docker", "id")
    value["hooks"]["prestart"][0] |= {"env": ["A=b=c"], "timeout": 7}
    assert network.engines_hook(value, "/bundle") == {
        "path": f"/proc/{os.getpid()}/exe",
        "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "id"],
        "timeout": 7,
        "oci_version": "1.1.0",
        "bundle": "/bundle",
    }


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"hooks": {}},
        {"hooks": {"prestart": [{"path": f"/proc/{os.getpid()}/exe"}]}},
        {"hooks": {"createRuntime": hooked("libnetwork-setkey")["hooks"]["prestart"]}},
        hooked("nvidia-container-runtime-hook", "prestart"),
        hooked("libnetwork-setkey", path="/bin/sh"),
        hooked("libnetwork-setkey", path="/proc/self/exe"),
        hooked("libnetwork-setkey", path=f"/tmp/proc/{os.getpid()}/exe"),
        hooked("libnetwork-setkey", path=f"/proc/{os.getpid()}/root/bin/sh"),
        hooked("libnetwork-setkey", path="/proc/0/exe"),
    ],
)
@pytest.mark.usefixtures("dockerd")
def test_no_other_hook_is_run(value: Any) -> None:
    assert network.engines_hook(value, "/bundle") is None


def test_the_program_of_no_other_process_is_run() -> None:
    assert network.engines_hook(hooked("libnetwork-setkey"), "/bundle") is None


@pytest.mark.usefixtures("dockerd")
def test_another_users_program_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert network.engines_hook(hooked("libnetwork-setkey"), "/bundle") is None
