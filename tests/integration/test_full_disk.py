"""A full disk under ``--root``: no container that nobody could find again, no job left, and what runs goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle, MakeContainer
from .oci import Runtime
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("has no job, and no processes that stay")

Small = Callable[[str], Path]


@pytest.fixture
def small() -> Iterator[Small]:
    """Makes a file system with those options of tmpfs(5); where it is."""
    made: list[Path] = []

    def make(options: str) -> Path:
        path = Path(f"/mnt/scrun-tests-{uuid.uuid4().hex[:8]}")
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=1777,{options}", "none", path], check=True)
        made.append(path)
        return path

    yield make
    for path in made:
        wait_until(lambda path=path: not subprocess.run(["umount", path]).returncode, f"{path} is free")  # type: ignore[misc]
        path.rmdir()


def fill(path: Path) -> None:
    """Write there until the disk is full."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("inodes", [3, 4, 5, 6, 7])
def test_what_cannot_be_written_down_is_not_created(
    runtime: Runtime, bundle: MakeBundle, small: Small, inodes: int
) -> None:
    """Whichever file is the one too many."""
    root, before = small(f"nr_inodes={inodes}") / "root", slurm.jobs()
    done = runtime.run("--root", str(root), "run", "--bundle", str(bundle("true")), "full")
    assert done.status == 125
    assert done.stderr.startswith("scrun: can't ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    wait_until(lambda: not slurm.jobs() - before, "no job is left")
    assert not root.exists() or not [path for path in root.iterdir() if not path.name.startswith(".")]


def test_a_full_disk_does_not_block_a_container(
    runtime: Runtime, bundle: MakeBundle, small: Small, directory: Path
) -> None:
    place, before = small("size=32k"), slurm.jobs()
    at = ("--root", str(place / "root"))
    with open(directory / "out", "wb") as out:
        argv = runtime.argv(*at, "run", "-d", "--bundle", str(bundle("sleep", "1000")), "one")
        assert not runtime.user.start(*argv, stdout=out).wait(PATIENCE)
    fill(place / "filling")
    assert runtime.run(*at, "exec", "one", "echo", "there").ok().stdout == "there\n"
    runtime.run(*at, "delete", "one").ok()
    assert "does not exist" in runtime.run(*at, "state", "one").stderr
    wait_until(lambda: not slurm.jobs() - before, "no job is left")


def test_pause_and_resume_on_a_full_disk(runtime: Runtime, bundle: MakeBundle, small: Small, directory: Path) -> None:
    place = small("size=32k")
    at = ("--root", str(place / "root"))
    path = bundle("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done")
    with open(directory / "out", "wb") as out:
        argv = runtime.argv(*at, "run", "-d", "--bundle", str(path), "one")
        assert not runtime.user.start(*argv, stdout=out).wait(60)
    wait_until(lambda: b"ready" in (directory / "out").read_bytes(), "it runs")
    state = place / "root" / "one" / "state.json"
    before = state.read_bytes()
    fill(place / "filling")
    for verb in ("pause", "resume", "pause", "resume"):
        runtime.run(*at, verb, "one").ok()
        assert state.read_bytes() == before, "there is no room for another"
    assert "not paused: it is running" in runtime.run(*at, "resume", "one").stderr
    runtime.run(*at, "delete", "one").ok()


@contextlib.contextmanager
def full_on_nodes(place: str) -> Iterator[None]:
    """A directory of the nodes has no room for a byte; what was in it is there again afterwards."""
    slurm.on_nodes(f"mount -t tmpfs -o size=64k,mode=1777 tmpfs {place} && ! head -c 1000000 /dev/zero >{place}/full")
    try:
        yield
    finally:
        slurm.on_nodes(f"cd / && umount --lazy {place}")  # a task may be in it


@pytest.fixture
def _full_tmp_on_nodes() -> Iterator[None]:
    with full_on_nodes("/tmp"):
        yield


@pytest.mark.usefixtures("_full_tmp_on_nodes")
def test_exec_works_when_the_nodes_tmp_is_full(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    much = "x" * 100_000
    for words, status, said in ((("sh", "-c", "echo ran; exit 7"), 7, "ran\n"), (("echo", much), 0, f"{much}\n")):
        done = one.runtime.run("exec", one.id, *words)
        assert (done.status, done.stdout, done.stderr) == (status, said, "")
    assert one.runtime.run("exec", "--detach", one.id, "true").ok().stderr == ""


@pytest.mark.usefixtures("_full_tmp_on_nodes")
def test_a_node_without_any_room_is_named(container: MakeContainer) -> None:
    with full_on_nodes("/dev/shm"):
        one = container("true").created()
        done = one.call("start")
        assert done.status == 1
        assert "cannot make a directory in /tmp or /dev/shm on this node: No space left on device" in done.stderr
        assert f"{one.record['nodes']}: " in done.stderr


def test_container_ended_on_full_disk_is_deleted_cleanly(
    container: MakeContainer, private_bundle: MakeBundle, small: Small
) -> None:
    place = small("size=32k")
    one = container(at=private_bundle("sh", "-c", "echo ready; read end; echo made >/made; exit 7"))
    reading, writing = os.pipe()
    try:
        one.created(global_options=["--root", str(place / "root")], stdin=reading)
        at = ("--root", str(place / "root"))
        one.runtime.run(*at, "start", one.id).ok()
        one.wait_for_output(b"ready")
        fill(place / "filling")
        os.write(writing, b"\n")
        assert one.ended() == 7
        assert (one.bundle / "rootfs/made").read_text() == "made\n"
        one.runtime.run(*at, "delete", one.id).ok()
    finally:
        os.close(reading)
        os.close(writing)
    wait_until(lambda: not (place / "root" / one.id).exists(), "its anchor has done what was owed")
