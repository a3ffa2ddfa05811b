"""podman's storage by the lines that the README recommends, where two hosts share the home directories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import RUNTIME
from .engines import Engine
from .users import User

pytestmark = pytest.mark.slurm_only("needs a second host")

README = Path("/src/README.md")


@pytest.fixture
def podman(alice: User) -> Iterator[Engine]:
    """alice's podman with a storage.conf of hers, which every podman from 5.4 on heeds."""
    (lines,) = re.findall(r"^```toml\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    path = alice.home / ".config/containers/storage.conf"
    alice.run("mkdir", "-p", str(path.parent)).ok()
    alice.write(path, lines)
    engine = Engine("podman", alice, RUNTIME)
    yield engine
    for name in engine.made:
        engine.remove(name)
    path.unlink()


def test_podman_takes_the_readmes_storage_conf(podman: Engine) -> None:
    asked = "{{.Store.GraphDriverName}} {{.Store.TransientStore}} {{.Store.GraphRoot}}"
    said = podman.call("info", "--format", asked).ok().stdout.split()
    assert said == ["vfs", "true", str(podman.user.home / ".local/share/containers/storage")]
    assert podman.run("sh", "-c", "exit 7").status == 7


def test_another_hosts_podman_leaves_the_containers_alone(podman: Engine) -> None:
    name = podman.detached("sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.1; done", ready="up")
    there = ("srun", "--nodelist=node2", "--job-name=of-the-tests", "podman")
    assert name not in podman.user.run(*there, "ps", "--all", "--format={{.Names}}").ok().stdout
    listed = podman.call("ps", "--format={{.Names}} {{.Status}}").ok().stdout.splitlines()
    assert [line for line in listed if line.startswith(f"{name} Up")], listed
    podman.call("stop", name).ok()
    assert podman.exit_code(name) == 6
