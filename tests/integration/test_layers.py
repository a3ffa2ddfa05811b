"""Layers of an engine's image that the nodes see are used where they lie: the nodes get an overlay of the same ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import layered_image, slurm
from .conftest import RUNTIME
from .dockerd import docker_in
from .engines import IMAGE
from .storages import IN_PLACE, Storage, conf
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("runs where the layers are")

IMAGES = {
    # Each of the layers changes what the others have; some of it belongs to other users, or is closed to all others.
    "peculiar": r"""FROM localhost/busybox
RUN mkdir -p /gone/deep /anew/old /files /links && echo 1 >/gone/deep/file && echo old >/anew/old/file && \
    echo one >/files/changed && echo two >/files/removed && echo x >/links/a && ln /links/a /links/b
RUN rm -r /gone /files/removed && rm -r /anew && mkdir /anew && echo new >/anew/file && echo more >>/files/changed
RUN mkdir -p /theirs/closed/in && echo secret >/theirs/closed/in/file && chown -R 33:33 /theirs && \
    chmod 700 /theirs/closed && echo group >/files/group && chown 0:42 /files/group && chmod 640 /files/group && \
    echo root >/theirs/closed/in/roots
RUN rm /theirs/closed/in/roots && echo later >/theirs/closed/later
""",
}
LOOK = """cd /; find gone anew files links theirs 2>/dev/null | sort; cat files/* anew/file theirs/closed/in/file
[ links/a -ef links/b ] && stat -c %h links/a; busybox getfattr -n user.colour files/changed | grep colour"""


@pytest.fixture(scope="module")
def shared(alice: User) -> Iterator[Storage]:
    """A storage on /home, with the images."""
    home = alice.mkdir(alice.home / f"layers-{uuid.uuid4().hex[:8]}")
    storage = Storage(alice, conf(home / "graph", f"/run/user/{alice.uid}/{home.name}"), home)
    storage.engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
    for name, text in IMAGES.items():
        directory = alice.mkdir(home / name)
        alice.write(directory / "Dockerfile", text)
        words = ("--runtime=crun", "build", "--layers", "--network=none", "--tag", name, str(directory))
        storage.engine.call(*words, timeout=240).ok()
    storage.load(layered_image.many())
    # The engine's tools and busybox set no attribute.
    colour = "import os, sys; [os.setxattr(path, 'user.colour', b'red') for path in sys.argv[1:]]"
    files = map(str, (home / "graph/overlay").glob("*/diff/files/changed"))
    alice.run("podman", "unshare", "python3", "-c", colour, *files).ok()
    yield storage
    storage.engine.call("rm", "--all", "--force", "--time=0")
    alice.run("podman", "unshare", "rm", "-rf", str(home)).ok()


@pytest.fixture(scope="module")
def split(alice: User, shared: Storage) -> Iterator[Storage]:
    """A storage on a disk of this host alone, over the images of the other."""
    home = alice.mkdir(Path(f"/var/tmp/layers-{uuid.uuid4().hex[:8]}"))
    graph = f'"{shared.home}/graph"'
    yield Storage(alice, conf(home / "graph", f"/run/user/{alice.uid}/{home.name}", graph), home)
    alice.run("podman", "unshare", "rm", "-rf", str(home)).ok()


@pytest.fixture(params=["shared", "split"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    one: Storage = request.getfixturevalue(request.param)
    if not slurm.mounts_at_root("node1"):
        pytest.skip("the nodes' runtime mounts no overlay at /")
    yield one
    one.engine.clean_up()
    one.engine.made.clear()


def test_a_container_sees_what_it_sees_here(storage: Storage) -> None:
    here = storage.run("peculiar", LOOK, "--rm", runtime="crun").ok()
    there = storage.run("peculiar", f"[ -n $SLURM_JOB_ID ] && {LOOK}", "--rm").ok()
    assert there.stdout == here.stdout
    assert "later" in there.stdout
    assert "roots" not in there.stdout


def test_sixty_layers_fit_into_the_mounts_options(shared: Storage) -> None:
    if not slurm.mounts_at_root("node1"):
        pytest.skip("the nodes' runtime mounts no overlay at /")
    done = shared.run("many", "echo /f*; grep -o '~l/59,' /proc/mounts", "--rm").ok()
    assert done.stdout.splitlines() == ["/f57 /f58", "~l/59,"]


CHANGE = """cd /; echo more >>files/changed; rm -r anew; mkdir anew; echo mine >anew/mine; rm files/group
echo mine >theirs/closed/mine; rm theirs/closed/later; mv links/a links/c; mkdir -p made/deep; echo m >made/deep/file"""
CHANGED = {
    *("C /files", "C /files/changed", "D /files/group", "C /anew", "D /anew/file", "A /anew/mine", "C /links"),
    *("D /links/a", "A /links/c", "C /theirs", "C /theirs/closed", "A /theirs/closed/mine", "D /theirs/closed/later"),
    *("A /made", "A /made/deep", "A /made/deep/file"),
}


def test_what_changed_comes_back_to_the_engine(storage: Storage) -> None:
    storage.run("peculiar", CHANGE).ok()
    name = storage.engine.made[-1]
    assert storage.diff(name) == CHANGED
    assert storage.engine.call("cp", f"{name}:/anew/mine", "-").ok().output[:9] == b"mine\0\0\0\0\0"
    image = f"localhost/test-{uuid.uuid4().hex[:8]}"
    storage.engine.call("commit", name, image).ok()
    look = "cd /; ls anew files theirs/closed; tail -n 1 files/changed; stat -c '%u %g' files/changed theirs/closed/in"
    of_the_image = storage.run(image, look, "--rm", runtime="crun").ok().stdout
    storage.engine.call("rmi", image).ok()
    assert of_the_image.split() == [
        *("anew:", "mine", "files:", "changed", "theirs/closed:", "in", "mine"),
        *("more", "0", "0", "33", "33"),
    ]


def test_a_container_that_is_started_again_goes_on(storage: Storage) -> None:
    """What it removed and made anew before stays so, and what it does now is done to that."""
    script = """cd /; n=$(cat runs 2>/dev/null | wc -l); echo run >>runs; ls anew files
case $n in
0) rm -r anew; mkdir anew; echo 1 >anew/one; rm files/removed files/group; mkdir files/d; echo 1 >files/d/one;;
1) echo 2 >anew/two; rm -r files/d; echo back >files/group;;
esac"""
    storage.run("peculiar", script).ok()
    name = storage.engine.made[-1]
    second = storage.again(name).ok()
    assert second.stdout.split() == ["anew:", "one", "files:", "changed", "d"]
    third = storage.again(name).ok()
    assert third.stdout.split() == ["anew:", "one", "two", "files:", "changed", "group"]
    assert storage.diff(name) == {
        *("C /anew", "D /anew/file", "A /anew/one", "A /anew/two", "C /files", "C /files/group", "A /runs"),
    }


def test_each_of_two_nodes_has_the_layers(storage: Storage) -> None:
    script = "cat /anew/file; echo $SLURMD_NODENAME >/$SLURMD_NODENAME; rm /files/changed"
    done = storage.run("peculiar", script, "--env=SCRUN_JOB_NUM_NODES=2").ok()
    assert done.stdout.split() == ["new", "new"]
    assert storage.diff(storage.engine.made[-1]) == {"A /node1", "A /node2", "C /files", "D /files/changed"}


def test_a_read_only_root_stays_read_only(storage: Storage) -> None:
    done = storage.run("peculiar", "touch /x /files/changed; rm /anew/file; touch /tmp/y && ls /tmp", "--read-only")
    assert done.ok().stdout == "y\n"
    assert done.stderr.count(": Read-only file system\n") == 3
    assert storage.diff(storage.engine.made[-1]) == set()


def test_nothing_is_left_on_the_nodes(storage: Storage) -> None:
    there = "ls -d /tmp/scrun-2000/* 2>/dev/null || :"
    before = {*slurm.on_nodes(there)}  # what other tests had kept there
    storage.run("peculiar", "true").ok()
    assert {*slurm.on_nodes(there)} <= before


@pytest.mark.parametrize("removed", [True, False])
def test_only_a_root_that_stays_comes_back(storage: Storage, *, removed: bool) -> None:
    engine = storage.engine
    script = "echo mine >/mine; echo up; while [ ! -e /go ]; do sleep 0.1; done"
    words = engine.words("--detach", *(["--rm"] if removed else []), command=("sh", "-c", script))
    identity = engine.call(*["peculiar" if word == IMAGE else word for word in words]).ok().stdout.strip()
    name = engine.made[-1]
    wait_until(lambda: "up" in engine.call("logs", name).stdout, "the container runs")
    record = json.loads(Path(f"/run/user/{engine.user.uid}/scrun/{identity}/state.json").read_text())
    assert {part[0]: part[3] for part in record["staged"]["parts"]}["rootfs"] is not removed
    engine.call("exec", name, "touch", "/go").ok()
    if removed:
        wait_until(lambda: engine.call("container", "exists", name).status == 1, "podman has removed it")
    else:
        assert engine.exit_code(name) == 0
        assert storage.diff(name) == {"A /mine", "A /go"}


def kept() -> list[str]:
    """The layers that the nodes keep of alice's."""
    return slurm.on_nodes("ls /var/tmp/scrun-2000/layers 2>/dev/null | grep -v lock || :")


def test_layers_of_too_many_foreign_files_are_carried(shared: Storage) -> None:
    """podman shifts a whole image's users for such a user namespace; then nearly all files are another user's."""
    slurm.on_nodes("rm -rf /var/tmp/scrun-2000")
    script = f"({IN_PLACE}); cd /; cat anew/file; echo mine >anew/mine"
    done = shared.run("peculiar", script, "--userns=keep-id", "--user=0", runtime=RUNTIME)
    assert done.ok().stdout.endswith("new\n")
    assert len(kept()) > 1
    assert {"C /anew", "A /anew/mine"} <= shared.diff(shared.engine.made[-1])
    shared.engine.clean_up()


def test_layers_that_only_this_host_has_are_carried(alice: User, shared: Storage) -> None:
    home = alice.mkdir(Path(f"/var/tmp/layers-{uuid.uuid4().hex[:8]}"))
    try:
        private = Storage(alice, conf(home / "graph", f"/run/user/{alice.uid}/{home.name}"), home)
        private.engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
        slurm.on_nodes("rm -rf /var/tmp/scrun-2000")
        for _ in range(2):
            done = private.run(IMAGE, "grep -c '^overlay / .*~l/0' /proc/mounts; echo here", "--rm", runtime=RUNTIME)
            assert done.ok().stdout == ("1\nhere\n" if slurm.mounts_at_root("node1") else "0\nhere\n")
            assert len(kept()) == 1
    finally:
        alice.run("podman", "unshare", "rm", "-rf", str(home)).ok()


@pytest.mark.parametrize("by_containerd", [False, True], ids=["overlay2", "containerd"])
def test_dockers_layers_on_a_shared_disk(root: User, by_containerd: bool) -> None:
    """Its layers have root's attributes, trusted.overlay.*."""
    if not slurm.mounts_at_root("node1"):
        pytest.skip("the nodes' runtime mounts no overlay at /")
    with docker_in(Path(f"/home/layers-{uuid.uuid4().hex[:8]}"), RUNTIME, root, by_containerd=by_containerd) as docker:
        name = docker.name()
        docker.call(
            "run", "--name", name, "--runtime=runc", IMAGE, "sh", "-c", "mkdir -p /anew/old /d; touch /d/f"
        ).ok()
        docker.call("commit", name, "localhost/first").ok()
        name = docker.name()
        change = "rm -r /anew /d/f; mkdir /anew; touch /anew/new"
        docker.call("run", "--name", name, "--runtime=runc", "localhost/first", "sh", "-c", change).ok()
        docker.call("commit", name, "localhost/second").ok()
        name = docker.name()
        script = (
            "ls /anew /d; rm -r /anew; mkdir /anew; touch /anew/mine; grep -c '^overlay / .*/l/\\|~l/' /proc/mounts"
        )
        done = docker.call("run", "--name", name, "--runtime=scrun", "localhost/second", "sh", "-c", script).ok()
        assert done.stdout.split() == ["/anew:", "new", "/d:", "1"]
        assert {"C /anew", "D /anew/new", "A /anew/mine"} <= set(docker.call("diff", name).ok().stdout.splitlines())
        assert docker.call("start", "--attach", name).ok().stdout.split()[:2] == ["/anew:", "mine"]
