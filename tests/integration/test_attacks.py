"""What bob can do to alice's containers, and to root's: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME, MakeBundle, MakeContainer
from .engines import IMAGE
from .oci import Container
from .storages import Storage, kept, private_storage
from .users import User
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("has no node that others are on")

TALKATIVE = {"SCRUN_DEBUG": "info"}


def on_nodes(user: User, script: str) -> str:
    """What a shell script prints on the two nodes, run by that user."""
    return user.run("srun", "--quiet", "--nodes=2", "--ntasks-per-node=1", "sh", "-c", script).ok().stdout


@pytest.fixture
def empty_nodes() -> Iterator[None]:
    """Nothing of ours is in /tmp and /var/tmp of the nodes before the test, nor after it."""
    clear = "rm -rf /tmp/scrun-* /var/tmp/scrun-*"
    slurm.on_nodes(clear)
    yield
    slurm.on_nodes(clear)


@pytest.fixture
def storage(alice: User) -> Iterator[Storage]:
    with private_storage(alice) as one:
        yield one


def command_lines() -> str:
    """What everybody can read of the processes on login and on the nodes."""
    script = "for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$one 2>/dev/null; echo; done"
    here = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    return here + "".join(slurm.on_nodes(script))


@pytest.mark.usefixtures("empty_nodes")
@pytest.mark.parametrize("name", ["alice", "root"])
def test_nobody_else_gets_at_a_containers_connection(
    container: MakeContainer, bob: User, name: str, root: User
) -> None:
    user = root if name == "root" else User(name)
    one = container("sh", "-c", "echo ready; exec sleep 1000", user=user).started()
    one.wait_for_output(b"ready")
    settings = dict(
        line.split(" ", 1) for line in Path(one.record["job_bundle"], "connection").read_text().splitlines()
    )
    exec_words = one.runtime.argv("exec", one.id, "sh", "-c", "trap 'exit 42' TERM; echo ready; sleep 1000 & wait")
    with open(one.bundle / "output", "wb") as file:
        running = user.start(*exec_words, stdout=file)
    wait_until((one.bundle / "output").read_bytes, "the process runs")
    (one.bundle / "output").unlink()
    # The key is on no command line, and nobody else can read the file, or enter where the hooks meet.
    assert settings["key"] not in command_lines()
    assert bob.run("cat", f"{one.record['job_bundle']}/connection").status != 0
    node = one.record["nodes"]
    meeting = slurm.on_node(node, f"stat -c '%a %U' /tmp/{settings['meeting']}*").splitlines()
    assert meeting == [f"700 {user.name}"]
    # Strangers on the port, silent, or saying what isn't the key, disturb nobody and get nothing.
    address, port = settings["address"].rsplit(" ", 1)
    pest = (
        "import socket, sys\n"
        f"all = [socket.create_connection(({address!r}, {port})) for _ in range(100)]\n"
        "for one in all[50:]: one.sendall(b'scrun\\0\\0\\1' + bytes(88))\n"
        "print('set', flush=True); sys.stdin.read()\n"
    )
    stranger = bob.start("python3", "-c", pest, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert stranger.stdout
    assert stranger.stdout.readline() == b"set\n"
    try:
        assert user.run(*one.runtime.argv("exec", one.id, "echo", "served")).ok().stdout == "served\n"
        running.terminate()
        assert running.wait(PATIENCE) == 42
    finally:
        stranger.terminate()
        stranger.wait(PATIENCE)
        stranger.stdout.close()
        if stranger.stdin:
            stranger.stdin.close()


def ran(one: Container) -> Container:
    """Itself, run to its end and deleted."""
    one.started(env=TALKATIVE)
    assert one.ended() == 0, one.errors
    one.call("delete").ok()
    return one


SQUAT = {
    "directory": "mkdir -m 755 {}",
    "link": "ln -s {elsewhere} {}",
    "file": ": >{}",
}


@pytest.mark.usefixtures("empty_nodes")
@pytest.mark.parametrize("kind", SQUAT)
def test_squatting_her_directory_does_not_lock_her_out(
    container: MakeContainer,
    private_bundle: MakeBundle,
    storage: Storage,
    alice: User,
    bob: User,
    directory: Path,
    kind: str,
) -> None:
    elsewhere = alice.mkdir(directory / "elsewhere", 0o700)
    for parent in ("/tmp", "/var/tmp"):
        on_nodes(bob, SQUAT[kind].format(f"{parent}/scrun-{alice.uid}", elsewhere=elsewhere))
    path = private_bundle("sh", "-c", "echo >/made; echo ready; [ ! -e /wait ] || exec sleep 1000")
    first = ran(container(at=path))
    said = first.errors.decode()
    assert f"/tmp/scrun-{alice.uid}: is not a directory of user {alice.uid} alone" in said
    assert "carrying " in said
    assert (path / "rootfs/made").exists()
    assert slurm.on_nodes(f"ls -d /tmp/scrun-{alice.uid}-*-* 2>/dev/null; :") == []

    (path / "rootfs/wait").touch()
    one = container(at=path).started()
    one.wait_for_output(b"ready")
    job = one.record["job"]
    (home,) = slurm.on_node(one.record["nodes"], f"ls -d /tmp/scrun-{alice.uid}-{job}-*").split()
    assert slurm.on_node(one.record["nodes"], f"stat -c '%U %a' {home}") == "alice 700\n"
    assert alice.run(*one.runtime.argv("exec", one.id, "true")).status == 0
    layers = set()
    for _ in range(2):
        assert storage.run(IMAGE, "echo ran", "--rm", runtime=RUNTIME).ok().stdout == "ran\n"
        layers |= kept()
    (layer,) = layers
    assert f"/var/tmp/scrun-{alice.uid}-own-" in layer
    # What bob's link leads the Epilog to is hers, and has the names that it looks for.
    hers = alice.mkdir(elsewhere / f"{job}-{uuid.uuid4().hex}")
    subprocess.run(["scancel", str(job)], check=True)
    one.ended()
    one.call("delete", "--force").ok()
    slurm_has_tidied = f"! ls -d /tmp/scrun-{alice.uid}-{job}-* >/dev/null 2>&1 && echo gone"
    wait_until(lambda: slurm.on_node("node1", f"{slurm_has_tidied}; :"), "the Epilog has run")
    assert hers.is_dir()
    assert slurm.on_nodes(f"stat -c %U /tmp/scrun-{alice.uid} /var/tmp/scrun-{alice.uid}") == ["bob"] * 4


# Connects to whatever a user listens on, many times, and sends a byte now and then over each connection.
PEST = """
import socket, sys, time
uid, met, held = sys.argv[1], set(), []
print("ready", flush=True)
while True:
    for line in [*open("/proc/net/tcp").readlines()[1:], *open("/proc/net/tcp6").readlines()[1:]]:
        fields = line.split()
        port = int(fields[1].rpartition(":")[2], 16)
        if fields[3] == "0A" and fields[7] == uid and (port, fields[9]) not in met:
            met.add((port, fields[9]))
            print(port, flush=True)
            for _ in range(200):
                try:
                    held.append(socket.create_connection(("127.0.0.1", port), 1))
                except OSError:
                    break
    for one in held[:]:
        try:
            one.send(b"x", socket.MSG_DONTWAIT)
        except OSError:
            one.close()
            held.remove(one)
    time.sleep(0.001)
"""


@pytest.mark.usefixtures("empty_nodes")
def test_impostor_connections_keep_nothing_from_a_node(storage: Storage, alice: User, bob: User) -> None:
    if slurm.version() < (26, 5):
        pytest.skip("an srun before 26.05 does nothing else while somebody holds a connection to a port of its own")
    pest = bob.start(sys.executable, "-c", PEST, str(alice.uid), stdout=subprocess.PIPE)
    assert pest.stdout
    try:
        assert pest.stdout.readline() == b"ready\n"
        assert storage.run(IMAGE, "echo ran", "--rm", runtime=RUNTIME).ok().stdout == "ran\n"
        assert pest.poll() is None
    finally:
        pest.terminate()
        ports = pest.communicate()[0].split()
    assert ports, "bob found nothing to connect to"
    assert kept(), "it went over the node's own connection: what srun carries in its place isn't kept"


# Prints each command line in which a word is, as often as there is a new one.
PEEP = """
import os, sys
word, found = sys.argv[1].encode()[::-1], set()
print("ready", flush=True)
while True:
    for name in os.listdir("/proc"):
        try:
            line = open(f"/proc/{name}/cmdline", "rb").read() if name.isdigit() else b""
        except OSError:
            continue
        if word in line and line not in found:
            found.add(line)
            print(line, flush=True)
"""


def test_no_secret_is_on_a_command_line(
    container: MakeContainer, private_bundle: MakeBundle, alice: User, bob: User
) -> None:
    word = f"secret-{uuid.uuid4().hex}"
    # What bob looks for isn't on his own command line.
    peeper = bob.start(sys.executable, "-c", PEEP, word[::-1], stdout=subprocess.PIPE)
    assert peeper.stdout
    try:
        assert peeper.stdout.readline() == b"ready\n"
        path = private_bundle("sh", "-c", "cat /secret; echo; sleep 1000", env=[f"SECRET={word}"])
        secret = alice.write(path / "secret", "nothing yet", 0o600)
        config = json.loads((path / "config.json").read_text())
        config["mounts"].append({"destination": "/secret", "type": "bind", "source": str(secret), "options": ["rbind"]})
        alice.write(path / "config.json", json.dumps(config))
        one = container(at=path).created()
        secret.write_text(f"{word}\0{word}")  # as an engine does between create and start
        one.call("start").ok()
        one.wait_for_output(f"{word}\0{word}".encode())
        process = {"args": ["sh", "-c", "echo $SECRET"], "cwd": "/", "env": [f"SECRET={word}", "PATH=/bin"]}
        file = alice.write(path / "process.json", json.dumps(process), 0o600)
        done = alice.run(*one.runtime.argv("exec", "--process", str(file), one.id))
        assert done.ok().stdout == f"{word}\n"
        one.call("delete", "--force").ok()
    finally:
        peeper.terminate()
        said = peeper.communicate()[0]
    assert not said


def test_root_runs_nothing_that_her_record_names(container: MakeContainer, root: User, directory: Path) -> None:
    one = container("sleep", "1000").started()
    record = one.path / "state.json"
    trap = directory / "trap"
    trap.write_text(f"#!/bin/sh\nid >>{directory}/caught\n")
    trap.chmod(0o755)
    genuine = record.read_text()
    record.write_text(json.dumps({**json.loads(genuine), "srun": [str(trap)]}))
    at = (one.runtime.path, "--root", str(one.path.parent))
    for words in (("exec", one.id, "id"), ("ps", one.id), ("kill", one.id), ("pause", one.id), ("delete", one.id)):
        done = root.run(*at, *words)
        assert done.status != 0
        assert f"is user {one.runtime.user.uid}'s: do this as that user" in done.stderr
    assert json.loads(root.run(*at, "state", one.id).ok().stdout)["status"] == "running"
    assert one.id in root.run(*at, "list", "--quiet").ok().stdout
    assert not (directory / "caught").exists()
    record.write_text(genuine)
