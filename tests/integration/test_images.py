"""A root filesystem that was carried stays on the nodes: the next container of that image carries what differs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME, MakeBundle, MakeContainer
from .engines import Engine
from .oci import Container
from .users import User
from .waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.slurm_only("runs where the bundle is"), pytest.mark.usefixtures("_no_images")]

Configure = Callable[..., Path]
IMAGES = "/var/tmp/scrun-*/images"
TALKATIVE = {"SCRUN_DEBUG": "info"}
SCRIPT = """
function slurm_scrun_stage_in() scrun.stage_in{{ {options} }} return slurm.SUCCESS end
function slurm_scrun_stage_out() scrun.stage_out() return slurm.SUCCESS end
"""


@pytest.fixture
def _no_images() -> Iterator[None]:
    """The nodes have none before the test, and none after it."""
    slurm.on_nodes("rm -rf /var/tmp/scrun-*")
    yield
    slurm.on_nodes("rm -rf /var/tmp/scrun-*")


@pytest.fixture(params=["overlay", "copy"])
def way(request: pytest.FixtureRequest, slurm_conf: Configure) -> list[str]:
    """Global options: the image under an overlay, and where a node can't mount one, a copy of it."""
    return configured(slurm_conf, f"overlay = {'true' if request.param == 'overlay' else 'false'}")


def configured(slurm_conf: Configure, options: str) -> list[str]:
    """Global options for a scrun.lua with these of scrun.stage_in's."""
    conf = slurm_conf()
    conf.with_name("scrun.lua").write_text(SCRIPT.format(options=options))
    return ["-f", str(conf)]


def ran(one: Container, *options: str) -> Container:
    """Itself, run to its end and deleted."""
    one.started(env=TALKATIVE, global_options=options)
    assert one.ended() == 0, one.errors
    one.call("delete").ok()
    return one


def was_carried(one: Container) -> bool:
    """Whether its root filesystem was carried as a whole."""
    return b"carrying " in one.errors


def images() -> list[str]:
    """The complete images, by node and name, and what else is there."""
    return sorted(
        slurm.on_nodes(
            f'for i in $(ls -d {IMAGES}/[!l]* {IMAGES}/.[no]* 2>/dev/null); do echo "$SLURMD_NODENAME:${{i##*/}}"; done'
        )
    )


def of_its_own(path: Path) -> Path:
    """The bundle, whose root filesystem looks like none that was carried: its busybox is from another time."""
    os.utime(path / "rootfs/bin/busybox", ns=(0, time.time_ns()))
    return path


def node(one: Container) -> str:
    """Where it ran."""
    return str(one.record["nodes"])


def make(rootfs: Path, name: str, user: User) -> None:
    """A file, with the directories that it is in, all of them the user's."""
    for above in reversed(Path(name).parents[:-1]):
        if not (rootfs / above).exists():
            user.mkdir(rootfs / above)
    user.write(rootfs / name, "")


def test_a_second_container_of_an_image_carries_nothing(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "cat /etc/passwd")
    first, second = ran(container(at=path)), ran(container(at=path))
    assert was_carried(first)
    assert not was_carried(second)
    assert first.output == second.output == b"root:x:0:0:root:/:/bin/sh\n"
    assert len(images()) == 1


def test_two_nodes_receive_an_image_and_keep_it(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "echo $SLURMD_NODENAME", env=["SCRUN_JOB_NUM_NODES=2"])
    first, second = ran(container(at=path)), ran(container(at=path))
    assert [was_carried(first), was_carried(second)] == [True, False]
    assert sorted(second.output.split()) == [b"node1", b"node2"]
    names = images()
    assert [name.partition(":")[0] for name in names] == ["node1", "node2"]
    assert len({name.partition(":")[2] for name in names}) == 1


def test_only_what_changed_since_is_carried(
    container: MakeContainer, private_bundle: MakeBundle, alice: User, way: list[str]
) -> None:
    script = "cat /etc/passwd /etc/new; ls /etc /gone /dir; cat /dir; ls -d /bin/wc; ls -ld /etc | head -c 10"
    script += "; echo; ls /closed; ls -ld /closed | head -c 10"
    path = private_bundle("sh", "-c", f"[ -e /etc/new ] || exit 0; ({script}) 2>&1")
    rootfs = path / "rootfs"
    make(rootfs, "gone/below/file", alice)
    make(rootfs, "dir/file", alice)
    make(rootfs, "closed/file", alice)
    (rootfs / "closed").chmod(0o555)
    ran(container(at=path), *way)
    alice.write(rootfs / "etc/passwd", "root:x:0:0:changed:/:/bin/sh\n")
    alice.write(rootfs / "etc/new", "new\n")
    shutil.rmtree(rootfs / "gone")
    shutil.rmtree(rootfs / "dir")
    alice.write(rootfs / "dir", "a file now\n")
    (rootfs / "bin/wc").unlink()
    (rootfs / "etc").chmod(0o700)
    (rootfs / "closed/file").unlink()
    second = ran(container(at=path), *way)
    assert not was_carried(second)
    assert second.output.decode().splitlines() == [
        *("root:x:0:0:changed:/:/bin/sh", "new", "ls: /gone: No such file or directory"),
        *("/dir", "", "/etc:", "new", "passwd"),
        *("a file now", "ls: /bin/wc: No such file or directory", "drwx------", "dr-xr-xr-x"),
    ]
    assert len(images()) == 1


def test_container_changes_return_without_entering_the_image(
    container: MakeContainer, private_bundle: MakeBundle, alice: User, way: list[str]
) -> None:
    script = (
        "echo more >>/etc/passwd; rm /bin/wc; rm -r /dir; mkdir /dir; echo new >/dir/new; rm -r /gone; "
        "mv /etc /moved; mkdir /etc; echo made >/a; ln /a /b; rm /delta; rm -r /file; echo file >/file"
    )
    path = private_bundle("sh", "-c", f"[ -e /delta ] || exit 0; {script}")
    rootfs = path / "rootfs"
    (rootfs / "bin/mv").symlink_to("busybox")
    (rootfs / "bin/ln").symlink_to("busybox")
    for name in ("dir/old/below/file", "gone/below/deep/file", "file/file"):
        make(rootfs, name, alice)
    ran(container(at=path), *way)
    make(rootfs, "delta", alice)
    second = ran(container(at=path), *way)
    assert not was_carried(second)
    assert (rootfs / "moved/passwd").read_text().splitlines()[1:] == ["more"]
    assert os.listdir(rootfs / "etc") == []
    assert os.listdir(rootfs / "dir") == ["new"]
    assert (rootfs / "file").read_text() == "file\n"
    assert (rootfs / "a").samefile(rootfs / "b")
    assert [name for name in ("bin/wc", "gone", "delta") if os.path.lexists(rootfs / name)] == []
    assert os.path.lexists(rootfs / "bin/busybox")
    # The image is whole: the next one finds nothing wrong with it.
    third = ran(container(at=path), *way)
    assert not was_carried(third)
    assert b"damaged" not in third.errors


def test_a_read_only_root_has_writable_mounts(
    container: MakeContainer, private_bundle: MakeBundle, way: list[str]
) -> None:
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
        one = ran(container(at=path), *way)
        assert one.output == b"x\n"
        assert one.errors.count(b": Read-only file system\n") == 3
    assert os.listdir(source) == ["y"]
    assert not (path / "rootfs/new").exists()


def copied(path: Path) -> Path:
    """A copy of a bundle, as cp(1) makes it, in which no file is the same one."""
    copy = path.with_name(f"{path.name}-copy")
    subprocess.run(["cp", "-a", "--reflink=never", str(path), str(copy)], check=True)
    return copy


def test_copied_files_are_the_same_image(container: MakeContainer, private_bundle: MakeBundle, way: list[str]) -> None:
    path = private_bundle("sh", "-c", "cat /etc/passwd")
    ran(container(at=path), *way)
    copy = copied(path)
    for _ in range(2):
        again = ran(container(at=copy), *way)
        assert not was_carried(again)
        assert again.output == b"root:x:0:0:root:/:/bin/sh\n"
    assert len(images()) == 1


def test_a_copy_with_another_byte_has_that_byte(
    container: MakeContainer, private_bundle: MakeBundle, way: list[str]
) -> None:
    path = private_bundle("sh", "-c", "cat /etc/passwd")
    ran(container(at=path), *way)
    passwd = copied(path) / "rootfs/etc/passwd"
    before = passwd.stat()
    passwd.write_text(passwd.read_text().replace("root", "ROOT"))
    os.utime(passwd, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert passwd.stat().st_size == before.st_size
    again = ran(container(at=passwd.parents[2]), *way)
    assert not was_carried(again)
    assert again.output == b"ROOT:x:0:0:ROOT:/:/bin/sh\n"


def test_podmans_vfs_storage_reuses_its_image(alice: User) -> None:
    home = alice.mkdir(Path(f"/var/tmp/scrun-tests-{uuid.uuid4().hex[:8]}"))
    conf = f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/storage"\nrunroot = "{home}/run"\n'
    conf += f'rootless_storage_path = "{home}/storage"\n'  # podman 5.4 takes no graphroot from a file that is named
    alice.write(home / "storage.conf", conf)
    engine = Engine("podman", alice, RUNTIME, {"CONTAINERS_STORAGE_CONF": f"{home}/storage.conf", **TALKATIVE})
    try:
        engine.call("load", "--input", "/usr/share/devcluster/busybox.tar").ok()
        for text in ("one", "two", "three"):
            done = engine.run("sh", "-c", f"echo {text} >>/etc/passwd; tail -n 1 /etc/passwd; grep ' / ' /proc/mounts")
            assert done.ok().stdout.splitlines()[0] == text
            assert done.stdout.splitlines()[1].startswith("overlay / overlay ") == slurm.mounts_at_root("node1")
        assert len({name.partition(":")[2] for name in images()}) == 1
    finally:
        engine.clean_up()
        alice.run("podman", "unshare", "rm", "-rf", str(home)).ok()


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


def test_special_files_survive_the_way(
    container: MakeContainer, private_bundle: MakeBundle, alice: User, way: list[str]
) -> None:
    make_more = "cd $d; ln one three; busybox dd if=two of=made bs=1 seek=900000 2>/dev/null; ln made too"
    on = "grep -o '^overlay / ' /proc/mounts | tr -d ' /'"
    script = f"set -- /image /volume /delta; {LOOK}; for d do {make_more}; done; {on}"
    path = private_bundle("sh", "-c", f"ls -d /delta >/dev/null 2>&1 || exit 0; {script} || :")
    (path / "rootfs/bin/ln").symlink_to("busybox")
    volume = alice.mkdir(path / "volume")
    config = json.loads((path / "config.json").read_text())
    config["mounts"].append(
        {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]}
    )
    (path / "config.json").write_text(json.dumps(config))
    image, delta = alice.mkdir(path / "rootfs/image"), path / "rootfs/delta"
    peculiar(image, alice)
    peculiar(volume, alice)
    ran(container(at=path), *way)
    peculiar(alice.mkdir(delta), alice)
    one = ran(container(at=path), *way)
    assert b"rootfs to" not in one.errors, "it was carried as a whole"
    is_overlay = one.output.endswith(b"overlay\n")
    assert one.output.removesuffix(b"overlay\n") == SEEN * 3
    for directory in (image, volume, delta):
        assert (directory / "one").samefile(directory / "three")
        # As in each overlay: a file of several names that a container writes to is another one then, of that name.
        parted = directory == image and is_overlay
        assert (directory / "one").samefile(directory / "two") is not parted
        assert (directory / "made").samefile(directory / "too")
        assert (directory / "made").stat().st_blocks < 100
        assert os.getxattr(directory / "attribute", "user.colour") == b"red"


@pytest.mark.parametrize(
    "damage",
    [
        "echo x >>{tree}/etc/passwd",
        "rm {tree}/bin/busybox",
        "touch {tree}/etc/more",
        "chmod 777 {tree}/etc",
        # The same size and time.
        "f={tree}/etc/passwd; touch -r $f {tree}/../ref; new=$(tr r R <$f); echo $new >$f; touch -r {tree}/../ref $f",
        "rm -r {tree}",
        ": >{tree}/../seal",
    ],
    ids=["written to", "removed", "added", "mode", "changed unseen", "empty", "without a seal"],
)
def test_a_damaged_image_is_noticed_and_made_anew(
    container: MakeContainer, private_bundle: MakeBundle, damage: str
) -> None:
    path = private_bundle("sh", "-c", "cat /etc/passwd; ls -ld /etc | head -c 10; ls /etc")
    before = ran(container(at=path)).output
    slurm.on_nodes(f"for tree in {IMAGES}/[!l]*/tree; do [ ! -d $tree ] || ({damage.format(tree='$tree')}); done")
    again = ran(container(at=path))
    assert was_carried(again)
    assert b"is damaged, and made anew" in again.errors
    assert again.output == before
    assert not was_carried(ran(container(at=path)))
    assert len(images()) == 1


def test_an_image_that_went_away_is_carried_again(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("true")
    ran(container(at=path))
    slurm.on_nodes(f"rm -rf {IMAGES}")
    assert was_carried(ran(container(at=path)))


def test_racing_jobs_all_run_and_leave_one_image(container: MakeContainer, private_bundle: MakeBundle) -> None:
    path = private_bundle("sh", "-c", "cat /etc/passwd", env=["SCRUN_JOB_NODELIST=node1"])
    for index in range(200):
        (path / f"rootfs/etc/{index}").write_bytes(os.urandom(10000))
    several = [container(at=path) for _ in range(4)]
    for one in several:
        one.begin_create()
    for one in several:
        one.end_create().ok()
    for one in several:
        one.call("start").ok()
    for one in several:
        assert one.ended() == 0, one.errors
        assert one.output == b"root:x:0:0:root:/:/bin/sh\n"
        one.call("delete").ok()
    assert len(images()) == 1


def test_only_the_longest_unused_image_makes_room(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    options = configured(slurm_conf, 'cache_size = "5M"')  # a busybox is 2 MB
    on = {"env": ["SCRUN_JOB_NODELIST=node1"]}
    running = container(at=private_bundle("sh", "-c", "echo up; while [ ! -e /end ]; do sleep 0.1; done; id", **on))
    running.started(global_options=options).wait_for_output(b"up\n")
    (used,) = images()
    ran(container(at=of_its_own(private_bundle("true", **on))), *options)
    (unused,) = {*images()} - {used}
    assert was_carried(ran(container(at=of_its_own(private_bundle("true", **on))), *options))
    assert len(images()) == 2
    assert used in images()
    assert unused not in images()
    ran(container(at=of_its_own(private_bundle("true", **on))), *options)
    assert used in images()
    running.call("kill", "KILL").ok()
    assert running.ended() == 137
    running.call("delete").ok()
    for _ in range(2):
        ran(container(at=of_its_own(private_bundle("true", **on))), *options)
    assert used not in images()


def test_oversized_image_goes_to_its_container_alone(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    options = configured(slurm_conf, 'cache_size = "1M"')
    one = ran(container(at=private_bundle("cat", "/etc/passwd")), *options)
    assert b"no room" in one.errors
    assert one.output == b"root:x:0:0:root:/:/bin/sh\n"
    assert images() == []


def test_lease_of_an_ended_job_keeps_nothing(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    options = configured(slurm_conf, 'cache_size = "4M"')
    on = {"env": ["SCRUN_JOB_NODELIST=node1"]}
    ran(container(at=of_its_own(private_bundle("true", **on))), *options)
    before = images()
    slurm.on_nodes(f"for i in {IMAGES}/[!l]*/leases; do [ ! -d $i ] || : >$i/999999-gone.node1; done")
    ran(container(at=of_its_own(private_bundle("true", **on))), *options)
    assert len(images()) == 1
    assert images() != before


@pytest.mark.parametrize("ending", ["interrupted", "killed", "cancelled"])
def test_interrupted_transfer_leaves_nothing_on_the_nodes(
    container: MakeContainer, private_bundle: MakeBundle, ending: str
) -> None:
    path = private_bundle("true", env=["SCRUN_JOB_NUM_NODES=2"])
    with open(path / "rootfs/big", "wb") as file:
        file.truncate(0)
        for _ in range(300):
            file.write(os.urandom(1 << 20))
    one = container(at=path)
    process = one.runtime.user.start(*one.runtime.argv("create", "--bundle", str(path), one.id), stderr=subprocess.PIPE)
    job = one.wait_until_queued()
    wait_until(lambda: any(":.new" in name for name in images()), "the image is being made")
    if ending == "cancelled":
        slurm.cancel(job)
    else:
        process.send_signal(signal.SIGTERM if ending == "interrupted" else signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    wait_until(lambda: images() == [] and slurm.files_on_nodes(job) == [], "nothing is left on the nodes")


def test_full_disk_is_one_line_and_leaves_nothing(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    path = private_bundle("true", env=["SCRUN_JOB_NODELIST=node1"])
    (path / "rootfs/big").write_bytes(os.urandom(8 << 20))
    slurm.on_nodes("mkdir -p /mnt/small; mount -t tmpfs -o size=6m,mode=1777 none /mnt/small")
    try:
        one = container(at=path)
        options = configured(slurm_conf, 'node_dir = "/mnt/small", cache_dir = "/mnt/small"')
        done = one.create(global_options=options)
        assert done.status == 1
        assert len(done.stderr.splitlines()) == 1
        assert "node1: /mnt/small/scrun-2000/" in done.stderr
        assert done.stderr.endswith(": No space left on device\n")
        assert slurm.on_nodes("find /mnt/small -name '[!l]*' -type f") == []
    finally:
        slurm.on_nodes("umount /mnt/small; rmdir /mnt/small")


def test_docker_container_finds_its_image_on_the_node(docker: Engine) -> None:
    for text in ("one", "two"):
        done = docker.run("sh", "-c", f"echo {text} >>/etc/passwd; tail -n 1 /etc/passwd; grep ' / ' /proc/mounts")
        assert done.stdout.splitlines()[0] == text
        assert done.stdout.splitlines()[1].startswith("overlay / overlay ") == slurm.mounts_at_root("node1")
    names = {name.partition(":")[2] for name in images()}
    assert len(names) == 1


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


def test_nodes_with_a_shared_cache_dir_share_images(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure, shared_directory: Path
) -> None:
    options = configured(slurm_conf, f'cache_dir = "{shared_directory}"')
    path = private_bundle("cat", "/etc/passwd", env=["SCRUN_JOB_NUM_NODES=2"])
    first, second = ran(container(at=path), *options), ran(container(at=path), *options)
    assert [was_carried(first), was_carried(second)] == [True, False]
    assert first.output == second.output == b"root:x:0:0:root:/:/bin/sh\n" * 2
    assert sorted(one for one in os.listdir(shared_directory / "scrun-2000/images") if one[0] in ".l") == ["lock"]
    assert len(os.listdir(shared_directory / "scrun-2000/images")) == 2


def test_nodes_that_may_not_cache_do_not(
    container: MakeContainer, private_bundle: MakeBundle, slurm_conf: Configure
) -> None:
    options = configured(slurm_conf, "cache = false")
    path = private_bundle("cat", "/etc/passwd")
    assert [was_carried(ran(container(at=path), *options)) for _ in range(2)] == [True, True]
    assert images() == []
