"""Layers that the nodes don't see are carried once, and known again without being read."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from layered_storage import KIND, OPAQUE, TRIAL, WHITEOUT, Storage, carried, contents, fill, kept, of_node
from test_staging_node import FakeStep, Notes, needs_mounts, on_node

from scrun.staging import layer_files
from scrun.staging.stage_out import stage_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASE = {"bin/tool": "1", "gone/deep/file": "x", "anew/old": "old", "kind": "file", "what/in": "x", "both": "base"}
ABOVE = {
    "gone": WHITEOUT,
    "anew/": OPAQUE,
    "anew/new": "new",
    "kind/": "",
    "kind/in": "x",
    "what": "a file now",
    "both": "above",
}
SHOWN = {
    "bin/": "",
    "bin/tool": "1",
    "anew/": "",
    "anew/new": "new",
    "kind/": "",
    "kind/in": "x",
    "what": "a file now",
    "both": "above",
}

pytestmark = [pytest.mark.slow, needs_mounts]


def can_overlay(scratch: Path) -> bool:
    """Whether a node here can mount an overlay, as the scripts do."""
    for name in ("lower", "more", "on"):
        (scratch / name).mkdir(parents=True)
    options = f"lowerdir={scratch}/lower:{scratch}/more"
    line = ["unshare", "-m" if os.getuid() == 0 else "-rm", "mount", "-t", "overlay", "-o", options, "none"]
    return subprocess.run([*line, str(scratch / "on")], capture_output=True, check=False).returncode == 0


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if not can_overlay(tmp_path / "trial"):
        pytest.skip("this user can't mount an overlay")
    storage = Storage(tmp_path, monkeypatch)
    storage.layer("base", BASE)
    storage.layer("above", ABOVE)
    storage.use("above", "base")
    return storage


@pytest.fixture
def step(tmp_path: Path, storage: Storage) -> Iterator[FakeStep]:
    step = FakeStep(tmp_path, hidden=[storage.path.parent])
    yield step
    step.end_standing()


def test_a_copy_has_what_the_layers_show(storage: Storage, step: FakeStep) -> None:
    assert carried(storage.stage(step)) == [f"carrying 2 layers of {storage.path.parent}/rootfs to node1"]
    assert contents(on_node(step) / "rootfs") == SHOWN
    assert not (on_node(step) / "l").exists()
    assert len(kept(step)) == 2


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    """docker's busybox has four hundred."""
    (tmp_path / "one").write_bytes(bytes(3 << 20))
    for name in ("two", "three"):
        (tmp_path / name).hardlink_to(tmp_path / "one")
    (tmp_path / "other").write_bytes(b"x" * 1000)
    listed = layer_files.files_of(str(tmp_path), "user.", devices=False)
    assert listed
    assert listed.names == (b"", b"one", b"other", b"three", b"two")
    assert listed.size == (3 << 20) + 1000
    assert listed.kilobytes < 4 << 10


def test_a_later_container_carries_and_lists_nothing(
    storage: Storage, step: FakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.stage(step)
    listed: list[str] = []
    files_of = layer_files.files_of

    def listing(path: str, *arguments: object, **options: object) -> object:
        listed.append(path)
        return files_of(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("scrun.staging.layered_root.files_of", listing)
    (storage.path / "overlay/base/diff/bin/tool").write_text("no engine does this")
    assert carried(storage.stage(step, job=8)) == []
    assert set(listed) == {f"{storage.path}/overlay/own/diff"}
    assert contents(on_node(step).with_name("8-web") / "rootfs") == SHOWN


def test_a_runtime_that_mounts_overlays_gets_one(storage: Storage, step: FakeStep) -> None:
    storage.stage(step, overlay=TRIAL)
    there = on_node(step)
    assert contents(there / "rootfs") == {}
    linked = [os.readlink(there / "l" / name) for name in ("0", "1")]
    assert {os.path.basename(os.path.dirname(path)) for path in linked} == kept(step)
    assert f"{there.name.partition('-')[0]}-" in (there / "config.json").read_text()
    assert '"overlay"' in (there / "config.json").read_text()


@pytest.mark.parametrize("made", [None, "file"])
def test_only_changes_over_layers_come_back(made: str | None, storage: Storage, step: FakeStep, tmp_path: Path) -> None:
    storage.stage(step, overlay=TRIAL)
    step.end_standing()
    if made:
        (on_node(step) / "rootfs" / made).write_text("made")
    tar = tmp_path / "programs/tar"
    tar.parent.mkdir()
    tar.write_text(f'#!/bin/sh\necho . >>{tmp_path}/archived\nPATH={step.path} exec tar "$@"\n')
    tar.chmod(0o755)
    step.path = f"{tar.parent}:{step.path}"
    stage_out(storage.container, storage.staged, step, log=Notes())
    assert (tmp_path / "archived").exists() == bool(made)
    assert made is None or (Path(storage.container.rootfs) / made).read_text() == "made"


def test_who_stands_by_keeps_nobody_from_layers(storage: Storage, step: FakeStep) -> None:
    """Whoever wants layers takes a lock."""
    storage.stage(step, overlay=TRIAL)
    assert step.standing
    done = subprocess.run(["flock", "--timeout=30", of_node(step) / "lock", "true"], check=False)
    assert done.returncode == 0
    assert step.standing.serves(["node1"], ["rootfs"])


def test_two_images_share_their_base(storage: Storage, step: FakeStep) -> None:
    storage.stage(step)
    before = kept(step)
    storage.layer("other", {"other": "1"})
    storage.use("other", "base")
    assert carried(storage.stage(step, job=8)) == [f"carrying 1 layers of {storage.path.parent}/rootfs to node1"]
    assert len(kept(step) - before) == 1
    assert contents(on_node(step).with_name("8-web") / "rootfs")["other"] == "1"


def test_only_what_a_node_lacks_is_unpacked_there(tmp_path: Path, storage: Storage) -> None:
    step = FakeStep(tmp_path, nodes=("node1", "node2"), hidden=[storage.path.parent])
    storage.stage(step)
    names = kept(step)
    (name,) = [one for one in names if (of_node(step) / one / "tree/both").read_text() == "base"]
    shutil.rmtree(of_node(step) / name)
    used = (of_node(step, "node2") / name / "seal").stat().st_mtime_ns
    storage.stage(step, job=8)
    assert kept(step) == kept(step, "node2") == names
    assert (of_node(step, "node2") / name / "seal").stat().st_mtime_ns == used
    assert contents(on_node(step).with_name("8-web") / "rootfs") == SHOWN


def test_layers_of_the_same_content_are_used_once(storage: Storage, step: FakeStep) -> None:
    """The kernel refuses an overlay that has a directory twice."""
    storage.layer("again", ABOVE, digest="sha256:above")
    storage.use("above", "base", "again")
    storage.stage(step, overlay=TRIAL)
    assert len(os.listdir(on_node(step) / "l")) == 2 + len(("top", "own"))
    assert len(kept(step)) == 2


def test_a_small_layer_without_digest_is_own(storage: Storage, step: FakeStep) -> None:
    storage.layer("init", {"etc/hosts": "", "both": WHITEOUT}, digest="")
    storage.use("init", "above", "base")
    storage.stage(step)
    shown = contents(on_node(step) / "rootfs")
    assert "both" not in shown
    assert shown["etc/hosts"] == ""
    assert len(kept(step)) == 2


def test_a_large_layer_is_known_by_its_directory(storage: Storage, step: FakeStep) -> None:
    storage.layer("unnamed", {f"file{number}": "x" for number in range(100)}, digest="")
    storage.use("unnamed", "base")
    storage.stage(step)
    before = kept(step)
    assert carried(storage.stage(step, job=8)) == []
    (storage.path / "overlay/unnamed/diff/more").touch()
    assert len(carried(storage.stage(step, job=9))) == 1
    assert len(kept(step) - before) == 1


def test_a_persons_own_directory_is_carried_each_time(storage: Storage, step: FakeStep) -> None:
    """Engines don't change a layer, but a person may: podman run --rootfs DIRECTORY:O."""
    storage.layer("mine", {f"deep/file{number}": "old" for number in range(100)}, digest="")
    storage.use("mine")
    own = (storage.path / "overlay/mine/diff").rename(storage.path.parent / "my-tree")
    layers = storage.layers()._replace(lower=(str(own),))
    storage.layers = lambda: layers  # type: ignore[method-assign]
    for job, content in ((7, "old"), (8, "new")):
        (own / "deep/file7").write_text(content)
        fill(storage.path.parent / "rootfs", contents(own))
        storage.stage(step, job=job)
        assert contents(on_node(step).with_name(f"{job}-web") / "rootfs")["deep/file7"] == content
    assert kept(step) == set()


@pytest.mark.parametrize("writable", ["", "overlay-layers/layers.json", "overlay-layers", "overlay", "overlay/base"])
def test_a_digest_that_others_could_write_is_ignored(storage: Storage, step: FakeStep, writable: str) -> None:
    """Somebody who could would give a layer of theirs the digest of one that the user trusts."""
    storage.stage(step)
    first = kept(step)
    storage.layer("large", {f"file{number}": "x" for number in range(100)}, digest="sha256:base")
    storage.use("large")
    (storage.path / writable).chmod(0o777)
    if writable == "overlay/base":
        (storage.path / "overlay/large").chmod(0o777)
    storage.stage(step, job=8)
    assert len(kept(step) - first) == 1
    assert "file7" in contents(on_node(step).with_name("8-web") / "rootfs")


def test_another_users_storage_has_no_digests(storage: Storage, step: FakeStep) -> None:
    if os.getuid():
        pytest.skip("only root gives files away")
    storage.stage(step)
    first = kept(step)
    for path in (storage.path, *storage.path.iterdir(), storage.path / "overlay-layers/layers.json"):
        os.chown(path, 4321, 4321)
    storage.layer("large", {f"file{number}": "x" for number in range(100)}, digest="sha256:base")
    storage.use("large")
    storage.stage(step, job=8)
    assert len(kept(step) - first) == 1


def test_damage_is_noticed_once_a_day(storage: Storage, step: FakeStep) -> None:
    storage.stage(step)
    for path in of_node(step).glob("*/tree/both"):
        path.write_text("damaged")
    for path in of_node(step).glob("*/checked"):
        path.write_text(f"{int(time.time()) - 90000}\n")
    notes = storage.stage(step, job=8)
    assert "layers are damaged, and carried anew: " in notes.at("info")
    assert len(carried(notes)) == 1
    assert contents(on_node(step).with_name("8-web") / "rootfs") == SHOWN
    assert not (of_node(step) / "damaged").exists()


@pytest.mark.parametrize("lost", ["seal", "tree", "leases", "used", "checked", "size"])
def test_a_layer_without_its_part_is_carried_again(storage: Storage, step: FakeStep, lost: str) -> None:
    """Somebody who tidies up takes away what is old."""
    storage.stage(step)
    for path in [*of_node(step).glob(f"*/{lost}")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in of_node(step).glob("*/checked"):
        path.write_text("1\n")
    storage.stage(step, job=8)
    assert contents(on_node(step).with_name("8-web") / "rootfs") == SHOWN
    assert len(kept(step)) == 2


@pytest.mark.parametrize("checked", ["", "x[$(touch /tmp/no)]", "99999999999"])
def test_what_is_no_time_is_none(storage: Storage, step: FakeStep, checked: str) -> None:
    storage.stage(step)
    for path in of_node(step).glob("*/checked"):
        path.write_text(checked)
    assert carried(storage.stage(step, job=8)) == []
    assert all(abs(int(path.read_text()) - time.time()) < 900 for path in of_node(step).glob("*/checked"))


def booted(step: FakeStep, scratch: Path, seconds: int) -> None:
    """Have the nodes believe that they have been up for so long."""
    (scratch / "uptime").write_text(f"{seconds}.5 1.0\n")
    step.prefix = ["sh", "-c", f'mount --bind {scratch}/uptime /proc/uptime && exec "$@"', "sh"]


def test_a_booted_node_looks_at_its_layers(storage: Storage, step: FakeStep, tmp_path: Path) -> None:
    """What was not yet on the disk is lost when a node dies, and a layer was used for a day without a look at it."""
    storage.stage(step)
    for path in of_node(step).glob("*/tree/both"):
        path.write_text("")
    for path in of_node(step).glob("*/checked"):
        path.write_text(f"{int(time.time()) - 100}\n")
    booted(step, tmp_path, 30)
    notes = storage.stage(step, job=8)
    assert "layers are damaged, and carried anew: " in notes.at("info")
    assert contents(on_node(step).with_name("8-web") / "rootfs") == SHOWN
    assert carried(storage.stage(step, job=9)) == []


def test_a_size_that_was_lost_counts_nothing(storage: Storage, step: FakeStep) -> None:
    storage.stage(step)
    for path in of_node(step).glob("*/size"):
        path.write_text("")
    storage.layer("other", {"other": "1"})
    storage.use("other", "base")
    storage.stage(step, job=8)
    assert contents(on_node(step).with_name("8-web") / "rootfs")["other"] == "1"


@pytest.mark.parametrize("length", [64, 400])
def test_damage_goes_whatever_the_id_is(storage: Storage, step: FakeStep, length: int) -> None:
    """A name has at most 255 characters."""
    storage.stage(step)
    for path in of_node(step).glob("*/tree/both"):
        path.write_text("damaged")
    for path in of_node(step).glob("*/checked"):
        path.write_text("1\n")
    storage.stage(step, job=8, name="x" * length)
    (there,) = [path for path in on_node(step).parent.glob("8-xxx*") if path.name[-1] != "~" and path.name[-2:] != "~l"]
    assert contents(there / "rootfs") == SHOWN


def test_layers_are_not_used_without_their_marks(storage: Storage, step: FakeStep, tmp_path: Path) -> None:
    """A file system without extended attributes (tmpfs before Linux 6.6) has no opaque directories."""
    if os.getuid():
        pytest.skip("only root can mount such a file system")
    fill(storage.path.parent / "rootfs", SHOWN)
    (tmp_path / "ramfs").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/df").write_text("#!/bin/sh\necho none 100000000 0 100000000 0% /\n")  # it says 0 of ramfs
    (tmp_path / "bin/df").chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    step.prefix = ["sh", "-c", f'mount -t ramfs none {tmp_path}/ramfs && exec "$@"', "sh"]
    notes = storage.stage(step, options={"cache_dir": f"{tmp_path}/ramfs"})
    assert "overlay.opaque' extended attribute" in notes.at("info")
    assert contents(on_node(step) / "rootfs") == SHOWN


def test_images_of_older_versions_are_removed_once(storage: Storage, tmp_path: Path) -> None:
    step = FakeStep(tmp_path, hidden=[storage.path.parent])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\necho 6; echo 7; echo 8\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    images = of_node(step).with_name("images")
    for name, lease in (("old", "5-gone.node1"), ("used", "6-runs.node1")):
        (images / name / "leases").mkdir(parents=True)
        (images / name / "leases" / lease).touch()
        (images / name / "tree").mkdir(mode=0o500)
    (images / "lock").touch()
    images.parent.chmod(0o700)
    storage.stage(step)
    eventually(lambda: sorted(os.listdir(images)) == ["lock", "used"])
    (images / "used/leases/6-runs.node1").unlink()
    storage.stage(step, job=8)
    eventually(lambda: not images.exists())


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what nobody else waits for."""
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


def test_damage_noticed_after_a_start_is_told(storage: Storage, step: FakeStep, tmp_path: Path) -> None:
    booted(step, tmp_path, 5000)
    storage.stage(step)
    for path in of_node(step).glob("*/tree/both"):
        path.write_text("damaged")
    for path in of_node(step).glob("*/checked"):
        path.write_text(f"{int(time.time()) - 1000}\n")
    assert carried(storage.stage(step, job=8)) == []
    end = time.monotonic() + 60
    while kept(step) and time.monotonic() < end:
        time.sleep(0.01)
    notes = storage.stage(step, job=9)
    assert "layers are damaged, and carried anew: " in notes.at("info")
    assert contents(on_node(step).with_name("9-web") / "rootfs") == SHOWN


@pytest.mark.parametrize(
    ("squeue", "stays"),
    [
        ("echo 7; echo 8", True),
        ("echo 77; echo 8", False),
        ("exit 1", True),
        ("echo 5", True),  # it isn't all, because our own job is missing
        ('echo "${SQUEUE_PARTITION:-7}"; echo 8', True),
        ('echo "${SQUEUE_FORMAT2:-7}"; echo 8', True),
        ('echo "${SLURM_CLUSTERS:-7}"; echo 8', True),
        ('echo 8; case "$*" in *--all*) echo 7; esac', True),
    ],
)
def test_a_layer_stays_while_its_job_may_run(storage: Storage, tmp_path: Path, squeue: str, stays: bool) -> None:
    step = FakeStep(tmp_path, hidden=[storage.path.parent])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text(f"#!/bin/sh\n{squeue}\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    step.prefix = ["env", "SQUEUE_PARTITION=other", "SQUEUE_FORMAT2=x", "SLURM_CLUSTERS=other"]
    for name in ("one", "two"):
        storage.layer(name, {"large": "x" * (2 << 20)})
    room = {"cache_size": "3M"}
    storage.use("one")
    storage.stage(step, options=room)
    first = kept(step)
    assert len(first) == 1
    storage.use("two")
    storage.stage(step, job=8, options=room)
    assert (first <= kept(step)) == stays


def test_a_lease_of_a_dead_job_is_removed(storage: Storage, tmp_path: Path) -> None:
    step = FakeStep(tmp_path, hidden=[storage.path.parent])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\necho 8; echo 9\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    for name in ("one", "two"):
        storage.layer(name, {"large": "x" * (2 << 20)})
    for job, name in ((7, "one"), (8, "one"), (9, "two")):
        storage.use(name)
        storage.stage(step, job=job, options={"cache_size": "3M"})
    leases = {path.name for path in of_node(step).glob("*/leases/*")}
    assert leases == {"8-web.node1"}


def test_without_room_the_root_is_carried_whole(storage: Storage, step: FakeStep) -> None:
    fill(storage.path.parent / "rootfs", SHOWN)
    notes = storage.stage(step, options={"cache_size": "1K"})
    assert "no room for" in notes.at("info")
    assert contents(on_node(step) / "rootfs") == SHOWN
    assert kept(step) == set()


@pytest.mark.parametrize("options", [{"cache": False}, {}])
def test_layers_no_archive_holds_are_carried_whole(storage: Storage, step: FakeStep, options: dict[str, bool]) -> None:
    fill(storage.path.parent / "rootfs", SHOWN)
    if not options:
        os.setxattr(storage.path / "overlay/base/diff/gone", f"{KIND}overlay.redirect", b"/was")
    storage.stage(step, options=options)
    assert contents(on_node(step) / "rootfs") == SHOWN
    assert kept(step) == set()


def test_a_layer_that_changes_meanwhile_keeps_no_name(
    storage: Storage, step: FakeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = layer_files.files_of

    def losing(path: str, *arguments: object, **options: object) -> object:
        files = listed(path, *arguments, **options)  # type: ignore[arg-type]
        if path.endswith("base/diff") and files:
            return files._replace(names=(*files.names, *(b"lost%d" % number for number in range(100))))
        return files

    monkeypatch.setattr("scrun.staging.layered_root.files_of", losing)
    storage.stage(step)
    assert len([name for name in kept(step) if name.startswith("changed-")]) == 1
    monkeypatch.setattr("scrun.staging.layered_root.files_of", listed)
    assert len(carried(storage.stage(step, job=8))) == 1


def test_layers_in_place_and_carried_ones_mix(tmp_path: Path, storage: Storage) -> None:
    step = FakeStep(tmp_path, hidden=[storage.path / "overlay/above"])
    storage.stage(step)
    # Root's layers are used in place only where nobody else can replace them.
    assert len(kept(step)) == (2 if os.getuid() == 0 else 1)
    assert contents(on_node(step) / "rootfs") == SHOWN
