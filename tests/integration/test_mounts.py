"""What is mounted in a container is what a local runtime mounts there, and what is written to it arrives.

Most of these run the same command with the engine's own runtime as well, and compare.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .engines import Engine
from .users import User
from .waiting import wait_until


def local(engine: Engine) -> Engine:
    """The same engine with a runtime of this host."""
    other = copy.copy(engine)
    other.runtime = "crun" if engine.is_podman else "runc"
    return other


def same(engine: Engine, *options: str, script: str) -> str:
    """Run it with a local runtime and with ours: status and output are the same. The answer is what it printed."""
    here, there = (one.run("sh", "-c", script, options=("--rm", *options)) for one in (local(engine), engine))
    assert (there.status, there.stdout) == (here.status, here.stdout), there.stderr
    return there.stdout


class Volume:
    """A volume with a directory and a file in its directory ``sub``."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, engine.name()
        self.look("mkdir -p /v/sub/in; echo given | tee /v/sub/given >/v/sub/file")

    def look(self, script: str) -> str:
        """Run a script with the volume at /v, on this host."""
        return local(self._engine).run("sh", "-c", script, options=("--rm", f"--volume={self.name}:/v")).ok().stdout

    def part(self, path: str, destination: str) -> str:
        """The option that mounts a part of it."""
        word = "subpath" if self._engine.is_podman else "volume-subpath"
        return f"--mount=type=volume,src={self.name},dst={destination},{word}={path}"

    def remove(self) -> None:
        """And its containers."""
        self._engine.clean_up()
        self._engine.made.clear()
        self._engine.call("volume", "rm", self.name).ok()


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    """One for the test's engine."""
    one = Volume(engine)
    yield one
    one.remove()


def test_writes_to_a_part_of_a_volume_arrive(engine: Engine, volume: Volume) -> None:
    mounts = volume.part("sub", "/x"), volume.part("sub/file", "/y")
    script = "cat /x/given /y; echo made >/x/in/made; rm /x/given; echo more >>/y; exit 7"
    done = engine.run("sh", "-c", script, options=("--rm", *mounts))
    assert (done.status, done.stdout, done.stderr) == (7, "given\ngiven\n", "")
    assert volume.look("cd /v/sub; find . -type f | sort; cat file in/made") == "./file\n./in/made\ngiven\nmore\nmade\n"


@pytest.mark.slurm_only("there is no job")
def test_part_of_a_volume_reaches_a_queued_container(engine: Engine, volume: Volume, held_node: int) -> None:
    # By the time that its files are staged the engine has taken its mount away.
    wanted = ("-e", "SCRUN_JOB_NODELIST=node2", "-e", "SCRUN_CREATE_TIMEOUT=1")
    mount = volume.part("sub", "/x")
    name = engine.detached("sh", "-c", "cat /x/given; echo made >/x/made; exit 7", options=(*wanted, mount))
    slurm.release(held_node)
    assert engine.exit_code(name) == 7
    engine.remove(name).ok()  # which waits until everything is back
    assert volume.look("ls /v/sub; cat /v/sub/made") == "file\ngiven\nin\nmade\nmade\n"


@pytest.mark.slurm_only("there is no job")
def test_pods_sub_path_points_into_its_volume(podman: Engine, directory: Path) -> None:
    volume, pod = podman.name(), podman.name()
    podman.call("volume", "create", volume).ok()
    top = Path(podman.call("volume", "inspect", volume, "--format={{.Mountpoint}}").ok().stdout.strip())
    podman.user.mkdir(top / "sub")
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec:
  restartPolicy: Never
  volumes: [{{name: all, persistentVolumeClaim: {{claimName: {volume}}}}}]
  containers:
  - name: one
    image: localhost/busybox
    command: [sh, -c, "echo made >/x/made; sleep 1000"]
    volumeMounts: [{{name: all, mountPath: /x, subPath: sub}}]
"""
    podman.user.write(directory / "pod.yaml", text)
    podman.call("kube", "play", "--runtime=scrun", f"{directory}/pod.yaml").ok()
    try:
        # While it runs: a node that sees the volume has it itself, and no copy.
        wait_until((top / "sub/made").exists, "the container has written")
    finally:
        podman.call("kube", "down", f"{directory}/pod.yaml").ok()
        podman.call("volume", "rm", volume).ok()


def test_an_images_part_is_mounted(main_engine: Engine) -> None:
    if not main_engine.is_podman and main_engine.api_version() < (1, 48):
        pytest.skip("docker mounts images from release 28 on")
    part = "subpath=/bin" if main_engine.is_podman else "image-subpath=bin"
    mount = f"--mount=type=image,src=localhost/busybox,dst=/x,{part}"
    assert "busybox" in same(main_engine, mount, script="ls /x; touch /x/a")


def test_bound_link_stays_or_is_followed_as_requested(podman: Engine, directory: Path) -> None:
    private = Path(f"/run/user/{podman.user.uid}/{directory.name}")  # which no node sees
    podman.user.mkdir(private)
    for place in (directory, private):
        podman.user.write(place / "file", "given\n")
        podman.user.run("ln", "-s", "file", str(place / "link")).ok()
    try:
        options = [f"--volume={directory}/link:/a/b:no-dereference", f"--volume={private}/link:/c:no-dereference"]
        options += [f"--volume={directory}/file:/d:no-dereference", f"--volume={private}/link:/e"]
        podman.user.run("ln", "-s", "/etc/hostname", str(directory / "absolute")).ok()  # which this host has
        options.append(f"--volume={directory}/absolute:/f:no-dereference")
        printed = same(podman, *options, script="readlink /a/b; readlink /c; readlink /f; cat /d; echo more >>/e")
        assert printed == "file\nfile\n/etc/hostname\ngiven\n"
    finally:
        text = (private / "file").read_text()
        podman.user.run("rm", "-r", str(private)).ok()
    assert text == "given\nmore\nmore\n", "a change to what the link leads to is brought back"


def test_overlay_over_a_host_directory_keeps_changes_apart(podman: Engine, directory: Path) -> None:
    private = Path(f"/run/user/{podman.user.uid}/{directory.name}")  # which no node sees
    for name in ("", "lower", "upper", "work"):
        podman.user.mkdir(private / name)
    podman.user.write(private / "lower/given", "given\n")
    over = f"{private}/lower:/x:O"
    apart = f"{private}/lower:/y:O,upperdir={private}/upper,workdir={private}/work"
    try:
        script = "rm /x/given /y/given; echo made >/y/made; ls /x /y"
        assert podman.run(
            "sh", "-c", script, options=("--rm", f"--volume={over}", f"--volume={apart}")
        ).ok().stdout == ("/x:\n\n/y:\nmade\n")
        assert sorted(os.listdir(private / "upper")) == ["given", "made"], "what is gone is said in it too"
        assert os.listdir(private / "lower") == ["given"]
    finally:
        podman.call("unshare", "rm", "-r", str(private)).ok()


@pytest.mark.slurm_only("nothing is brought back")
def test_mount_inside_a_bound_directory_appears_when_requested(docker: Engine, tmp_path: Path, root: User) -> None:
    (tmp_path / "in").mkdir()
    root.run("mount", "-t", "tmpfs", "none", str(tmp_path / "in")).ok()
    try:
        root.run("sh", "-c", f"echo inner >{tmp_path}/in/file").ok()
        script = "cat /x/in/file; echo made >/x/in/made; echo made >/x/made"
        docker.run("sh", "-c", script, options=("--rm", f"--volume={tmp_path}:/x")).ok()
        assert root.run("cat", f"{tmp_path}/in/made", f"{tmp_path}/made").ok().stdout == "made\nmade\n"
        # Without it, nothing that the container wrote goes to what it didn't have: it is kept, and no success.
        bind = f"type=bind,src={tmp_path},dst=/x,bind-recursive=disabled"
        done = docker.run("sh", "-c", "ls /x/in; echo other >/x/in/made", options=("--rm", f"--mount={bind}"))
        assert (done.status, done.stdout) == (125, ""), done.stderr
        node, _, path = done.stderr.strip().rpartition("they are still in ")[2].partition(":")
        assert slurm.on_node(node, f"cat {path}/mounts/*/in/made; rm -r {path}") == "other\n"
        assert "'in/made': another file system is mounted there" in done.stderr
        assert root.run("cat", f"{tmp_path}/in/made").ok().stdout == "made\n"
    finally:
        root.run("umount", str(tmp_path / "in")).ok()
