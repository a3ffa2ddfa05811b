"""Which network a container gets: what it says, what the site allows, and what the engine's own words tell."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import UsageError
from scrun.lifecycle.caller import engine_words, network_choice
from scrun.lifecycle.caller.network_choice import choose
from scrun.lifecycle.container import network, network_programs
from scrun.lifecycle.process import fork

ID = "c0ffee"


def config(
    resolv_conf: Path | None = None, path: str = "/run/netns/x", annotations: dict[str, str] | None = None
) -> Any:
    """A config with a network namespace, and what else tells something."""
    mounts = [{"destination": "/etc/resolv.conf", "source": str(resolv_conf), "type": "bind"}] if resolv_conf else []
    namespaces = [{"type": "network", **({"path": path} if path else {})}]
    return {"linux": {"namespaces": namespaces}, "mounts": mounts, "annotations": annotations or {}}


def docker(directory: Path, **host_config: Any) -> Any:
    """A config of docker's, whose files are in that directory."""
    (directory / ID).mkdir()
    (directory / ID / "hostconfig.json").write_text(json.dumps(host_config))
    (directory / ID / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    return config(directory / ID / "resolv.conf", path="")


@pytest.mark.parametrize(
    ("host_config", "wanted"),
    [
        ({"NetworkMode": "bridge"}, False),
        ({"NetworkMode": "default", "PortBindings": {}}, False),
        ({"NetworkMode": "default", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}, True),
        ({"NetworkMode": "default", "PublishAllPorts": True}, True),
        ({"NetworkMode": "mine"}, True),
        ({"NetworkMode": "none"}, False),
        ({"NetworkMode": "container:abc"}, False),
    ],
)
def test_docker_s_own_file_tells(host_config: dict[str, Any], wanted: bool, tmp_path: Path) -> None:
    given = docker(tmp_path, **host_config)
    assert engine_words.asked(given, ID).for_engine == wanted
    choice = choose(network.LATER, "", {}, given, ID)
    assert (choice.kind, choice.is_new) == (network.ENGINE if wanted else network.LATER, True)
    assert choice.otherwise == (network.LATER if wanted else "")
    assert not wanted or choice.plan["resolv_conf"] == str(tmp_path / ID / "resolv.conf")


@pytest.mark.parametrize("text", ["", "[]", "no JSON", "{}", "[" * 100_000])
def test_a_file_that_tells_nothing_means_the_nodes(text: str, tmp_path: Path) -> None:
    given = docker(tmp_path)
    (tmp_path / ID / "hostconfig.json").write_text(text)
    assert not engine_words.asked(given, ID).for_engine


def test_a_pipe_as_namespace_is_not_waited_for(tmp_path: Path) -> None:
    given = docker(tmp_path)
    (tmp_path / ID / "hostconfig.json").unlink()
    os.mkfifo(tmp_path / ID / "hostconfig.json")
    assert not engine_words.asked(given, ID).for_engine


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (["a:1.2.3.4", "host.docker.internal:host-gateway", "b=host-gateway"], ["host.docker.internal", "b"]),
        ([7, "host-gateway:1.2.3.4"], []),
        (None, []),
        ("a:host-gateway", []),
    ],
)
def test_docker_says_which_names_are_its_hosts(entries: object, names: list[str], tmp_path: Path) -> None:
    given = docker(tmp_path, ExtraHosts=entries)
    assert engine_words.gateways(given) == []
    given["mounts"].append({"destination": "/etc/hosts", "source": str(tmp_path / ID / "hosts"), "type": "bind"})
    assert engine_words.gateways(given) == names
    given["annotations"] = PODMAN
    assert engine_words.gateways(given) == ["host.containers.internal", "host.docker.internal"]


PODMAN = {"io.container.manager": "libpod"}


def test_podmans_search_domain_is_of_a_named_network(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search dns.podman\nnameserver 10.89.0.1\n")
    assert engine_words.asked(config(tmp_path / "resolv.conf", annotations=PODMAN), ID).for_engine


def ports(path: str) -> list[list[int]]:
    """The ports that pasta publishes of that namespace."""
    return network_programs.pastas_ports(network_programs.serving(path))


@pytest.fixture
def pasta() -> Iterator[Any]:
    """Start a process with pasta's name, or another, and these arguments."""
    made: list[subprocess.Popen[bytes]] = []

    def start(*words: str, name: str = "pasta") -> None:
        script = f"printf {name[:15]} >/proc/$$/comm; echo; read -r _"
        argv = [name, "-c", script, *words]
        made.append(subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert made[-1].stdout
        made[-1].stdout.read(1)

    yield start
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("-t", "8081-8081:80-80", "-u", "none"), True),
        (("-t", "none", "-u", "53-53:53-53"), True),
        (("-t", "none", "-u", "none", "-T", "none"), False),
    ],
)
def test_pasta_is_told_of_the_ports(words: tuple[str, ...], wanted: bool, pasta: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("scrun.identity.is_machines_root", lambda: False)
    path = f"/run/netns/{os.getpid()}-{words[1]}"
    pasta(*words, "--netns", path)
    assert engine_words.asked(config(path=path, annotations=PODMAN), ID).for_engine == wanted


@pytest.mark.parametrize(
    ("words", "port_program", "wanted"),
    [
        ((), "", False),
        (("--api-socket", "/run/x"), "", True),
        ((), "rootlessport", True),
        ((), "rootlessness", False),
    ],
)
def test_slirp4netns_has_somebody_for_the_ports(
    words: tuple[str, ...], port_program: str, wanted: bool, pasta: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("scrun.identity.is_machines_root", lambda: False)
    path = tmp_path / "namespace"  # by a name of its own, as podman has one in /run/user
    path.symlink_to("/proc/self/ns/net")
    pasta("--netns-type=path", *words, str(path), "tap0", name="slirp4netns")
    if port_program:
        pasta(name=port_program)
    assert engine_words.asked(config(path=str(path), annotations=PODMAN), ID).for_engine == wanted
    other = tmp_path / "other"  # another container's
    other.touch()
    pasta("--netns-type=path", str(other), "tap0", name="slirp4netns")
    assert not engine_words.asked(config(path=str(other), annotations=PODMAN), ID).for_engine


def test_pastas_ports_are_the_containers(pasta: Any) -> None:
    path = f"/run/netns/{os.getpid()}-ports"
    pasta("-t", "127.0.0.1/8081-8082:80-81", "-t", "9000:90", "-u", "none", "--netns", path)
    assert ports(path) == [[80, 81], [90, 90]]


@pytest.mark.parametrize("told", ["9" * 5000, "70000", "0", "1-70000", "²", ""])
def test_what_is_no_port_is_left_out(told: str, pasta: Any) -> None:
    path = f"/run/netns/{os.getpid()}-wrong"
    pasta("-t", f"9000:{told}", "-t", "8080:80", "--netns", path)
    assert ports(path) == [[80, 80]]


def test_another_user_s_pasta_says_nothing(pasta: Any, monkeypatch: Any) -> None:
    path = f"/run/netns/{os.getpid()}-bobs"
    pasta("-t", "9000:90", "--netns", path)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    assert ports(path) == []


def test_roots_podman_holds_the_ports_open(monkeypatch: Any) -> None:
    monkeypatch.setattr("scrun.identity.is_machines_root", lambda: True)
    given = config(annotations=PODMAN)

    def is_for_engine(*kept: int) -> bool:
        """As a process finds it that has inherited these."""
        pid = fork.child(lambda: int(engine_words.asked(given, ID).for_engine), keep=kept)
        return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    assert not is_for_engine()
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        assert is_for_engine(port.fileno())


def test_podman_keeps_a_pipe_for_later_ports(monkeypatch: Any) -> None:
    """conmon hands down two pipes beyond its own where a port is published, and one where none is."""
    monkeypatch.setattr("scrun.identity.is_machines_root", lambda: False)
    given = config(path="", annotations=PODMAN)
    reader, writer = os.pipe()

    def is_for_engine(*numbers: int) -> bool:
        def ask() -> int:
            for number in numbers:
                os.dup2(writer, number)
            return int(engine_words.asked(given, ID).for_engine)

        pid = fork.child(ask, keep=(reader, writer))
        return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    try:
        assert not is_for_engine(21, 22)
        monkeypatch.setenv("_OCI_STARTPIPE", "20")
        assert not is_for_engine(21, 251)
        assert is_for_engine(21, 22)
        monkeypatch.setenv("_OCI_STARTPIPE", "9" * 5000)
        assert not is_for_engine(21, 22)
    finally:
        os.close(reader)
        os.close(writer)


def test_pasta_is_found_by_the_namespace_itself(pasta: Any, tmp_path: Path) -> None:
    path, same, other = (tmp_path / name for name in ("namespace", "same", "other"))
    path.touch()
    same.hardlink_to(path)
    other.touch()
    pasta("-t", "9000:90", "--netns", str(path))
    for there, wanted in ((same, [[90, 90]]), (other, [])):
        with there.open() as file:
            assert network_programs.pastas_ports(network_programs.serving_same(file.fileno())) == wanted


def test_no_pasta_serves_a_namespace_without_a_path(pasta: Any) -> None:
    pasta("-t", "9000:90", "--netns", f"/run/netns/{os.getpid()}-another")
    assert ports("") == []


def test_what_is_said_counts() -> None:
    plain = config()
    assert choose(network.NODE, "", {}, plain, ID).kind == network.NODE
    chosen = choose(network.NODE, "engine", {}, plain, ID)
    assert (chosen.kind, chosen.otherwise, chosen.plan["namespace"]) == (network.ENGINE, "", "/run/netns/x")
    assert choose(network.HOST, "engine", {}, plain, ID).kind == network.HOST
    assert choose(network.NODE, "", {"Net": "engine"}, plain, ID).kind == network.ENGINE
    assert choose(network.NODE, "node", {"Net": "engine"}, plain, ID).kind == network.NODE


def test_what_the_site_does_not_allow_is_refused() -> None:
    with pytest.raises(UsageError, match=r"SCRUN_NET=engine: this site's oci.conf allows node only"):
        choose(network.NODE, "engine", {"NetAllowed": ["node"]}, config(), ID)
    assert choose(network.NODE, "", {"NetAllowed": ["node"]}, config(), ID).kind == network.NODE
    assert choose(network.NODE, "", {"NetAllowed": ["engine"]}, config(), ID).kind == network.ENGINE


def test_a_container_of_another_runtime_keeps_its_network(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search dns.podman\n")
    given = config(tmp_path / "resolv.conf", path=f"/proc/{os.getpid()}/ns/net", annotations=PODMAN)
    assert engine_words.asked(given, ID).for_engine
    assert choose(network.NODE, "", {}, given, ID).kind == network.NODE
    with pytest.raises(UsageError, match=r"SCRUN_NET=engine: the network is that of a container which another runtime"):
        choose(network.NODE, "engine", {}, given, ID)
    assert choose(network.JOINED, "engine", {}, given, ID, is_guest=True, in_its_job=True).kind == network.JOINED


def test_a_guest_has_what_the_other_one_has() -> None:
    assert choose(network.JOINED, "", {}, config(), ID, is_guest=True, in_its_job=True).kind == network.JOINED
    assert choose(network.JOINED, "", {}, config(), ID, is_guest=True).kind == network.NODE
    assert choose(network.NONE, "engine", {}, config(), ID, is_guest=True, in_its_job=True).kind == network.NONE


def test_only_podman_without_root_is_near(monkeypatch: Any) -> None:
    for is_root, marks in ((False, PODMAN), (True, PODMAN), (False, {})):
        monkeypatch.setattr("scrun.identity.is_machines_root", lambda is_root=is_root: is_root)
        chosen = choose(network.NODE, network_choice.BY_ENGINE, {}, config(annotations=marks), ID)
        assert chosen.plan["near"] == (not is_root and bool(marks))
