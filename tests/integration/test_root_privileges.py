"""What a container of root's docker or podman may do on a node: no more than docker's own fences would let it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .engines import IMAGE, Engine
from .users import User

pytestmark = pytest.mark.slurm_only("a local runtime has a device cgroup")

FUSE = os.makedev(10, 229)
LOOK = "grep -E 'Cap(Bnd|Eff)' /proc/self/status; mknod /made c 10 229 && echo made; (: </made) && echo opened; "
MKNOD, NET_ADMIN, NET_RAW = 27, 12, 13  # capabilities(7), by linux/capability.h


def device(path: Path) -> Path:
    """/dev/fuse by another name, for everybody."""
    os.mknod(path, stat.S_IFCHR | 0o666, FUSE)
    path.chmod(0o666)
    return path


def capabilities(output: str) -> set[int]:
    """The numbers of all that a process has, or can get."""
    words = [line.split()[1] for line in output.splitlines() if line.startswith("Cap")]
    assert len(words) == 2
    return {number for word in words for number in range(64) if int(word, 16) >> number & 1}


@pytest.fixture
def image_with_device(docker: Engine) -> Iterator[str]:
    """An image in which a device node is, for all to open."""
    made, image = docker.name(), f"localhost/devices-{uuid.uuid4().hex[:8]}"
    make = "mknod -m 666 /fuse c 10 229; mkdir /volume; mknod -m 666 /volume/fuse c 10 229"
    docker.call("run", "--name", made, "--privileged", "--network=none", IMAGE, "sh", "-c", make).ok()
    docker.call("commit", "--change=VOLUME /volume", made, image).ok()
    yield image
    docker.call("image", "rm", "--force", image).ok()


def test_an_images_device_nodes_open_nothing(docker: Engine, image_with_device: str, tmp_path: Path) -> None:
    device(tmp_path / "fuse")
    shared = Path(f"/home/devices-{uuid.uuid4().hex[:8]}")  # which the nodes see, so it is not carried
    shared.mkdir()
    device(shared / "fuse")
    try:
        opening = "".join(f"(: <{path}/fuse) && echo {path}; " for path in ("", "/volume", "/carried", "/shared"))
        options = ("--rm", f"--runtime={docker.runtime}", f"--volume={tmp_path}:/carried", f"--volume={shared}:/shared")
        words = (image_with_device, "sh", "-c", f"{LOOK} {opening} echo null >/dev/null; echo end")
        done = docker.call("run", "--network=none", *options, *words).ok()
        assert MKNOD not in capabilities(done.stdout)
        assert done.stdout.splitlines()[2:] == ["end"]
        privileged = docker.call("run", "--network=none", "--privileged", *options, *words).ok()
        assert MKNOD in capabilities(privileged.stdout)
        assert privileged.stdout.splitlines()[2:] == ["made", "opened", "", "/volume", "/carried", "/shared", "end"]
    finally:
        shutil.rmtree(shared)
    assert (tmp_path / "fuse").is_char_device()


@pytest.mark.parametrize("readonly", [False, True])
def test_device_nodes_of_an_unmoved_rootfs_open_nothing(container: MakeContainer, root: User, readonly: bool) -> None:
    # By a mount at /, or by a hook where the node's runtime makes none (crun before 1.28).
    script = f"{LOOK} (: </fuse) && echo root filesystem; touch /w && echo written; touch /new/place/x; echo end"
    one = container("sh", "-c", script, user=root)
    device(one.bundle / "rootfs/fuse")
    config = json.loads((one.bundle / "config.json").read_text())
    config["root"]["readonly"] = readonly
    config["mounts"].append({"destination": "/new/place", "type": "tmpfs", "source": "tmpfs"})
    (one.bundle / "config.json").write_text(json.dumps(config))
    one.started()
    assert one.ended() == 0
    assert one.output.decode().splitlines()[2:] == (["end"] if readonly else ["written", "end"])


@pytest.mark.parametrize("name", ["docker", "root's podman"])
def test_the_nodes_network_is_not_roots_containers(docker: Engine, root: User, name: str) -> None:
    engine = docker if name == "docker" else Engine("podman", root, docker.runtime)
    for network, has in (("bridge", False), ("host", True), ("none", True)):
        options = ("--rm", f"--network={network}", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW")
        done = engine.run("sh", "-c", LOOK, options=options)
        assert {NET_ADMIN, NET_RAW, MKNOD} & capabilities(done.stdout) == ({NET_ADMIN, NET_RAW} if has else set())


def test_exec_gets_no_more_privilege_than_the_container(docker: Engine) -> None:
    name = docker.detached("sleep", "1000", options=("--network=bridge",))
    done = docker.call("exec", "--privileged", name, "sh", "-c", LOOK)
    found = capabilities(done.stdout)
    assert not {NET_ADMIN, NET_RAW, MKNOD} & found
    assert 21 in found  # CAP_SYS_ADMIN
    assert "made" not in done.stdout
