"""What a carried bundle's files are on the nodes, and what comes back of them, with files of all kinds."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MakeBundle, MakeContainer
from .oci import Container
from .users import User

pytestmark = pytest.mark.slurm_only("runs where the bundle is")

Configure = Callable[..., Path]
SCRIPT = """
function slurm_scrun_stage_in() scrun.stage_in{{ {options} }} return slurm.SUCCESS end
function slurm_scrun_stage_out() scrun.stage_out() return slurm.SUCCESS end
"""


def configured(slurm_conf: Configure, options: str) -> list[str]:
    """Global options for a scrun.lua with these of scrun.stage_in's."""
    conf = slurm_conf()
    conf.with_name("scrun.lua").write_text(SCRIPT.format(options=options))
    return ["-f", str(conf)]


def ran(one: Container, *options: str) -> Container:
    """Itself, run to its end and deleted."""
    one.started(global_options=options)
    assert one.ended() == 0, one.errors
    one.call("delete").ok()
    return one


def make(rootfs: Path, name: str, user: User) -> None:
    """A file, with the directories that it is in, all of them the user's."""
    for above in reversed(Path(name).parents[:-1]):
        if not (rootfs / above).exists():
            user.mkdir(rootfs / above)
    user.write(rootfs / name, "")


def test_what_the_container_changes_comes_back(
    container: MakeContainer, private_bundle: MakeBundle, alice: User
) -> None:
    script = (
        "echo more >>/etc/passwd; rm /bin/wc; rm -r /dir; mkdir /dir; echo new >/dir/new; rm -r /gone; "
        "mv /etc /moved; mkdir /etc; echo made >/a; ln /a /b; rm /delta; rm -r /file; echo file >/file"
    )
    path = private_bundle("sh", "-c", script)
    rootfs = path / "rootfs"
    (rootfs / "bin/mv").symlink_to("busybox")
    (rootfs / "bin/ln").symlink_to("busybox")
    for name in ("dir/old/below/file", "gone/below/deep/file", "file/file"):
        make(rootfs, name, alice)
    make(rootfs, "delta", alice)
    ran(container(at=path))
    assert (rootfs / "moved/passwd").read_text().splitlines()[1:] == ["more"]
    assert os.listdir(rootfs / "etc") == []
    assert os.listdir(rootfs / "dir") == ["new"]
    assert (rootfs / "file").read_text() == "file\n"
    assert (rootfs / "a").samefile(rootfs / "b")
    assert [name for name in ("bin/wc", "gone", "delta") if os.path.lexists(rootfs / name)] == []
    assert os.path.lexists(rootfs / "bin/busybox")


def test_a_read_only_root_has_writable_mounts(container: MakeContainer, private_bundle: MakeBundle) -> None:
    # The places that the mounts go to don't exist yet.
    path = private_bundle(
        "sh", "-c", "touch /x; touch /etc/passwd; rm /bin/wc; touch /new/place/x /volume/y; ls /new/place"
    )
    source = path / "volume"
    source.mkdir()
    source.chmod(0o777)
    config = json.loads((path / "config.json").read_text())
    config["root"]["readonly"] = True
    config["mounts"] += [
        {"destination": "/new/place", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/volume", "type": "bind", "source": str(source), "options": ["rbind"]},
    ]
    (path / "config.json").write_text(json.dumps(config))
    for _ in range(2):
        one = ran(container(at=path))
        assert one.output == b"x\n"
        assert one.errors.count(b": Read-only file system\n") == 3
    assert os.listdir(source) == ["y"]
    assert not (path / "rootfs/new").exists()


def peculiar(directory: Path, user: User) -> None:
    """Put a sparse file of 500 KB, one of two names, and one with an attribute into a directory of the user's."""
    with open(user.write(directory / "sparse", "begin"), "r+b") as file:
        file.seek(500_000)
        file.write(b"end")
    os.link(user.write(directory / "one", "1"), directory / "two")
    os.setxattr(user.write(directory / "attribute", ""), "user.colour", b"red")


# Prints for each of the directories how it finds what peculiar() made.
LOOK = """for d do
    cd $d
    [ $(busybox du -k sparse | busybox cut -f1) -lt 100 ] && busybox tail -c 3 sparse && busybox stat -c ' %s' sparse
    [ one -ef two ] && busybox stat -c %h one
    busybox getfattr -n user.colour attribute | grep colour
done"""
SEEN = b'end 500003\n2\nuser.colour="red"\n'


def test_special_files_survive_the_way(container: MakeContainer, private_bundle: MakeBundle, alice: User) -> None:
    make_more = "cd $d; ln one three; busybox dd if=two of=made bs=1 seek=900000 2>/dev/null; ln made too"
    path = private_bundle("sh", "-c", f"set -- /image /volume; {LOOK}; for d do {make_more}; done")
    (path / "rootfs/bin/ln").symlink_to("busybox")
    volume = alice.mkdir(path / "volume")
    config = json.loads((path / "config.json").read_text())
    config["mounts"].append(
        {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]}
    )
    (path / "config.json").write_text(json.dumps(config))
    image = alice.mkdir(path / "rootfs/image")
    peculiar(image, alice)
    peculiar(volume, alice)
    one = ran(container(at=path))
    assert one.output == SEEN * 2
    for directory in (image, volume):
        assert (directory / "one").samefile(directory / "three")
        assert (directory / "one").samefile(directory / "two")
        assert (directory / "made").samefile(directory / "too")
        assert (directory / "made").stat().st_blocks < 100
        assert os.getxattr(directory / "attribute", "user.colour") == b"red"


@pytest.fixture
def shared_directory(alice: User) -> Iterator[Path]:
    """A directory of alice's that all hosts share."""
    path = alice.mkdir(alice.home / f"scrun-tests-{uuid.uuid4().hex[:8]}", 0o700)
    yield path
    shutil.rmtree(path)


def test_a_shared_node_dir_is_refused(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure, shared_directory: Path
) -> None:
    options = configured(slurm_conf, f'node_dir = "{shared_directory}"')
    path = private_bundle("cat", "/etc/passwd", env=["SCRUN_JOB_NUM_NODES=2"])
    done = container(at=path).create(global_options=options)
    assert done.status == 1
    (line,) = done.stderr.splitlines()
    assert f"{shared_directory}: is shared with node" in line
    assert [one for _, _, files in os.walk(shared_directory) for one in files] == []
    alone = private_bundle("cat", "/etc/passwd", env=["SCRUN_JOB_NUM_NODES=1"])
    assert ran(container(at=alone), *options).output == b"root:x:0:0:root:/:/bin/sh\n"
    assert os.listdir(shared_directory / "scrun-2000") == []
