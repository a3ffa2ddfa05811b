"""A bundle that the nodes don't see is carried there, and what changed comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle, MakeContainer
from .oci import Container
from .processes import descendants
from .rootfs import Config
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("runs where the bundle is")


def run(one: Container) -> Path:
    """Run it to its end and delete it; its root filesystem."""
    one.started()
    assert one.ended() == 0, one.errors
    one.call("delete").ok()
    return one.bundle / "rootfs"


def test_container_changes_are_back_when_its_process_ends(container: MakeContainer, private_bundle: MakeBundle) -> None:
    script = "echo made >/made; echo more >>/etc/passwd; rm /bin/wc; mkdir -p /d/e; ln -s made /link; ln /made /hard"
    one = container(at=private_bundle("sh", "-c", script)).started()
    assert one.ended() == 0
    rootfs = one.bundle / "rootfs"
    assert (rootfs / "made").read_text() == "made\n"
    assert (rootfs / "etc/passwd").read_text().endswith("\nmore\n")
    assert not os.path.lexists(rootfs / "bin/wc")
    assert (rootfs / "d/e").is_dir()
    assert os.readlink(rootfs / "link") == "made"
    assert (rootfs / "made").samefile(rootfs / "hard")


def test_systemd_tmpfiles_spares_what_a_container_uses(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done")
    (path / "rootfs/given").write_text("given")
    one = container(at=path).started()
    one.wait_for_output(b"up\n")
    slurm.on_nodes(
        "place=$(mktemp -d) && mkdir $place/scrun-x && : >$place/scrun-x/old && sleep 1.1 &&"
        ' echo "d $place - - - 1s" >$place.conf && echo "d /tmp - - - 1s" >>$place.conf &&'
        " systemd-tmpfiles --clean $place.conf && ! [ -e $place/scrun-x/old ] && rm -rf $place.conf $place"
    )
    one.call("kill", "TERM").ok()
    assert one.ended() == 0, one.errors
    assert (path / "rootfs/given").read_text() == "given"


def test_plain_bundle_comes_back_without_our_init(container: MakeContainer, private_bundle: MakeBundle) -> None:
    """It has no tmpfs, so the init was in its root filesystem's own /dev."""

    def only_proc(config: Config) -> None:
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] == "/proc"]

    one = container(at=private_bundle("sh", "-c", "echo made >/made", change=only_proc))
    rootfs = run(one)
    assert (rootfs / "made").read_text() == "made\n"
    assert not [*(rootfs / "dev").glob(".scrun*")]


def test_modes_and_times_survive_the_round_trip(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "stat -c '%a %Y' /given; chmod 4711 /given; touch -d @1000000000 /given")
    given = path / "rootfs/given"
    given.write_text("given")
    given.chmod(0o640)
    os.chown(given, path.stat().st_uid, path.stat().st_gid)
    os.utime(given, (1_234_567_890, 1_234_567_890))
    (path / "rootfs/bin/stat").symlink_to("busybox")
    (path / "rootfs/bin/chmod").symlink_to("busybox")
    one = container(at=path)
    run(one)
    assert one.output == b"640 1234567890\n"
    assert (given.stat().st_mode & 0o7777, given.stat().st_mtime) == (0o4711, 1_000_000_000)


@pytest.mark.parametrize("name", ["with space", "ü", "new\nline", "-dash", "*", "\\", "bad\udcff"])
def test_any_file_name_survives(container: MakeContainer, private_bundle: MakeBundle, name: str) -> None:
    path = private_bundle("sh", "-c", 'for f in /given/*; do echo more >>"$f"; done; touch /given/.made')
    (path / "rootfs/given").mkdir()
    (path / "rootfs/given" / name).write_text("given\n")
    for below in (path / "rootfs/given", path / "rootfs/given" / name):
        os.chown(below, path.stat().st_uid, path.stat().st_gid)
    rootfs = run(container(at=path))
    assert sorted(os.listdir(rootfs / "given")) == sorted([name, ".made"])
    assert (rootfs / "given" / name).read_text() == "given\nmore\n"


def test_sparse_files_of_terabytes_come_back_sparse(container: MakeContainer, private_bundle: MakeBundle) -> None:
    # Whoever reads one as it is reads for an hour, or for ever, and one in memory takes all that this host has.
    script = "for f in /new /small /large; do dd if=/dev/zero of=$f bs=1 count=1 seek=4398046511103 || exit 1; done"
    path = private_bundle("sh", "-c", script)
    bound = [path / "small", path / "large"]
    for file, size in zip(bound, (10, 100_000), strict=True):
        file.write_bytes(b"x" * size)
        os.chown(file, path.stat().st_uid, path.stat().st_gid)
    config = json.loads((path / "config.json").read_text())
    mounts = [{"destination": f"/{file.name}", "type": "bind", "source": str(file)} for file in bound]
    config["mounts"] += [{**mount, "options": ["bind"]} for mount in mounts]
    (path / "config.json").write_text(json.dumps(config))
    rootfs = run(container(at=path))
    for file in (rootfs / "new", *bound):
        assert (file.stat().st_size, file.stat().st_blocks < 1000) == (1 << 42, True), file


def test_what_was_not_changed_is_not_written(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("touch", "/made")
    inode = (path / "rootfs/etc/passwd").stat().st_ino
    rootfs = run(container(at=path))
    assert (rootfs / "etc/passwd").stat().st_ino == inode


@pytest.mark.parametrize("killed", [False, True], ids=["ended by itself", "deleted while it ran"])
def test_nothing_is_left_on_the_nodes(container: MakeContainer, private_bundle: MakeBundle, killed: bool) -> None:
    one = container(at=private_bundle("sleep", "1000" if killed else "0")).started()
    job = one.record["job"]
    if not killed:
        assert one.ended() == 0
    one.call("delete").ok()
    assert slurm.files_on_nodes(job) == []


def test_what_was_made_before_a_kill_comes_back(container: MakeContainer, private_bundle: MakeBundle) -> None:
    one = container(at=private_bundle("sh", "-c", "echo made >/made; echo ready; sleep 1000")).started()
    one.wait_for_output(b"ready\n")
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    assert (one.bundle / "rootfs/made").read_text() == "made\n"


def test_a_container_on_two_nodes_runs_on_both(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "echo $SLURMD_NODENAME", env=["SCRUN_JOB_NUM_NODES=2"])
    one = container(at=path)
    run(one)
    assert sorted(one.output.split()) == [b"node1", b"node2"]


def name_of(pid: int) -> str:
    """The name of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def stager(one: Container) -> int:
    """The process that staged the files and stays a while, to run stage_out too; 0 when it has gone."""
    anchor = one.record["anchor"]
    return next((pid for pid in descendants(anchor) if name_of(pid) == name_of(anchor)), 0)


@pytest.mark.parametrize("is_killed", [False, True], ids=["goes", "is killed"])
def test_changes_come_back_without_the_stager(
    container: MakeContainer, private_bundle: MakeBundle, is_killed: bool
) -> None:
    at = private_bundle("sh", "-c", "trap 'echo made >/made; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    one = container(at=at).started()
    one.wait_for_output(b"up\n")
    if is_killed:
        assert stager(one)
        os.kill(stager(one), signal.SIGKILL)
    wait_until(lambda: not stager(one), "it has gone by itself")
    one.call("kill", "TERM").ok()
    assert one.ended() == 0, one.errors
    assert (one.bundle / "rootfs/made").read_text() == "made\n"
    one.call("delete").ok()
