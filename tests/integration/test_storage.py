"""podman's storage by the lines that the README recommends, where two hosts share the home directories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME
from .engines import IMAGE, Engine
from .users import User

pytestmark = pytest.mark.slurm_only("needs a second host")

README = Path("/src/README.md")
IMAGES = ".local/share/containers/images"


@pytest.fixture
def podman(alice: User) -> Iterator[Engine]:
    """alice's podman after the README's commands."""
    (commands,) = re.findall(r"^```sh\n(.*?storage\.conf.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    alice.run("sh", "-ec", commands).ok()
    engine = Engine("podman", alice, RUNTIME)
    engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
    yield engine
    for name in engine.made:
        engine.remove(name)
    disk = f"/var/tmp/containers-{alice.uid}"
    engine.call("system", "migrate").ok()  # ends the process that holds the storage's mounts
    (alice.home / ".config/containers/storage.conf").unlink()
    alice.run("podman", "unshare", "rm", "-rf", disk, str(alice.home / IMAGES)).ok()
    slurm.on_nodes(f"rm -rf {disk}")


def test_podman_takes_the_readmes_storage_conf(podman: Engine) -> None:
    said = podman.call("info", "--format", "{{.Store.GraphDriverName}} {{.Store.GraphRoot}}").ok().stdout.split()
    assert said == ["overlay", f"/var/tmp/containers-{podman.user.uid}/storage"]
    assert list((podman.user.home / IMAGES / "overlay").glob("*/diff"))
    assert podman.run("sh", "-c", "exit 7").status == 7


def test_nodes_use_the_image_where_it_lies(podman: Engine) -> None:
    mounts = podman.run("grep", " / ", "/proc/mounts").ok().stdout
    assert ("~l/" in mounts) == slurm.mounts_at_root("node1"), mounts
    podman.run("sh", "-c", "echo made >/made").ok()
    podman.call("commit", podman.made[-1], "localhost/made").ok()
    words = podman.words("--rm", command=("cat", "/made"))
    assert podman.call(*["localhost/made" if word == IMAGE else word for word in words]).ok().stdout == "made\n"


def test_another_hosts_podman_leaves_the_containers_alone(podman: Engine) -> None:
    name = podman.detached("sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.1; done", ready="up")
    there = ("srun", "--nodelist=node2", "--job-name=of-the-tests", "podman")
    assert name not in podman.user.run(*there, "ps", "--all", "--format={{.Names}}").ok().stdout
    listed = podman.call("ps", "--format={{.Names}} {{.Status}}").ok().stdout.splitlines()
    assert [line for line in listed if line.startswith(f"{name} Up")], listed
    podman.call("stop", name).ok()
    assert podman.exit_code(name) == 6
