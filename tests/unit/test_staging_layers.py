"""The layers of an engine's overlay, found in a mount table; what of them has to be carried."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from test_staging_node import FakeStep, Notes, is_root, make_container, needs_mounts, on_node

from scrun.staging import foreign, headers
from scrun.staging.children import Children, Interruption
from scrun.staging.foreign import Foreign
from scrun.staging.layered_root import LayeredRoot
from scrun.staging.layers import Layers, find_layers, only_root_can_replace
from scrun.staging.model import ContainerFiles, Part
from scrun.staging.mountinfo import MountTable
from scrun.staging.root_mounts import Trial
from scrun.staging.stage_options import StagingOptions
from scrun.staging.transfer import Transfer

TRIAL = Trial("overlay", "false", "{}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A storage as podman and docker have it: two layers, a container's own directory, and where it is mounted."""
    home = tmp_path / "overlay"
    for name in ("one", "two", "own"):
        (home / name / "diff").mkdir(parents=True)
    (home / "own/merged").mkdir()
    (home / "l").mkdir()
    (home / "l/A").symlink_to("../one/diff")
    (home / "l/B").symlink_to("../two/diff")
    return home


def found(home: Path, options: str, fstype: str = "overlay") -> Layers | None:
    options = options.replace("HOME", str(home))
    lines = f"20 1 8:1 / / rw - ext4 /dev/sda rw\n21 20 0:99 / {home}/own/merged rw - {fstype} overlay {options}\n"
    return find_layers(f"{home}/own/merged", MountTable(lines.encode()))


@pytest.mark.parametrize(
    "options",
    [
        "rw,lowerdir=HOME/two/diff:HOME/one/diff,upperdir=HOME/own/diff,workdir=HOME/own/work",
        "rw,lowerdir+=HOME/two/diff,lowerdir+=HOME/one/diff,upperdir=HOME/own/diff,workdir=HOME/own/work",
        "rw,lowerdir=l/B:l/A,upperdir=own/diff,workdir=own/work",  # docker's, if they are many
        "rw,lowerdir=two/diff:one/diff,upperdir=HOME/own/diff,workdir=HOME/own/work",  # containerd's
    ],
)
def test_layers_are_found_however_an_engine_names_them(home: Path, options: str) -> None:
    expected = Layers((f"{home}/two/diff", f"{home}/one/diff"), f"{home}/own/diff", "trusted.")
    assert found(home, options) == expected
    assert found(home, f"{options},userxattr") == expected._replace(xattrs="user.")


@pytest.mark.parametrize("option", ["metacopy=on", "redirect_dir=on"])
def test_layers_with_redirections_are_told_from_others(home: Path, option: str) -> None:
    layers = found(home, f"rw,lowerdir=HOME/one/diff,upperdir=HOME/own/diff,{option}")
    assert layers is not None
    assert layers.redirects


def test_descriptors_of_podmans_are_named_by_its_storage(home: Path) -> None:
    options = "rw,lowerdir=3:6,upperdir=HOME/own/diff,workdir=HOME/own/work"
    assert found(home, options) is None
    (home / "own/lower").write_text("l/B:l/A")
    layers = found(home, options)
    assert layers is not None
    assert layers.lower == (f"{home}/two/diff", f"{home}/one/diff")
    (home / "own/lower").write_text("l/B")
    assert found(home, options) is None


@pytest.mark.parametrize(
    "options",
    [
        "rw,lowerdir=HOME/gone:HOME/one/diff,upperdir=HOME/own/diff,workdir=HOME/own/work",
        "rw,lowerdir=HOME/one/diff,upperdir=HOME/gone,workdir=HOME/own/work",
        "ro,lowerdir=HOME/two/diff:HOME/one/diff",
        "rw,lowerdir=HOME/two/diff::HOME/one/diff,upperdir=HOME/own/diff",
        "rw,lowerdir=HOME/one/diff,upperdir=HOME/own/diff,metacopy=on,datadir+=HOME/two/diff",
        r"rw,lowerdir=HOME/one\134:diff,upperdir=HOME/own/diff",
    ],
)
def test_layers_that_no_node_can_mount_are_ignored(home: Path, options: str) -> None:
    assert found(home, options) is None


def test_only_an_overlay_at_the_root_filesystem_counts(home: Path) -> None:
    options = "rw,lowerdir=HOME/one/diff,upperdir=HOME/own/diff,workdir=HOME/own/work"
    assert found(home, options, "fuse.fuse-overlayfs") is None
    lines = f"20 1 0:9 / / rw - overlay overlay {options}\n".replace("HOME", str(home))
    assert find_layers(f"{home}/own/merged", MountTable(lines.encode())) is None


def layered_container(home: Path, step: FakeStep) -> ContainerFiles:
    (home / "bundle").mkdir(exist_ok=True)
    return make_container(home / "bundle", step)._replace(rootfs=f"{home}/own/merged", overlay=TRIAL)


def own_layers(home: Path) -> Layers:
    xattrs = "user." if os.getuid() else "trusted."
    return Layers((f"{home}/two/diff", f"{home}/one/diff"), f"{home}/own/diff", xattrs)


@pytest.fixture
def _of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' directory is below /tmp, which is everybody's."""
    monkeypatch.setattr("scrun.staging.layered_root.only_root_can_replace", lambda _path: True)


def usable(layers: Layers, container: ContainerFiles) -> tuple[str, ...]:
    return LayeredRoot(layers, container, "/tmp").usable()


@pytest.mark.usefixtures("_of_root")
def test_only_the_same_users_layers_are_used(home: Path) -> None:
    container = layered_container(home, FakeStep(home))
    layers = own_layers(home)
    assert usable(layers, container) == layers.lower
    assert usable(layers, container._replace(user_id=os.getuid() + 1)) == ()
    other = "trusted." if os.getuid() else "user."
    assert usable(layers._replace(xattrs=other), container) == ()
    assert usable(layers._replace(redirects=True), container) == ()
    assert LayeredRoot.of(None, container, "/tmp") is None


@pytest.mark.skipif(not is_root, reason="is about root's containers")
def test_roots_layers_must_be_replaceable_only_by_root(home: Path) -> None:
    container, layers = layered_container(home, FakeStep(home)), own_layers(home)
    assert not only_root_can_replace(layers.lower[0])  # /tmp is everybody's
    assert usable(layers._replace(lower=(*layers.lower, "/usr/bin")), container) == ("/usr/bin",)


@pytest.mark.usefixtures("_of_root")
def test_options_that_fill_a_page_are_refused(home: Path) -> None:
    container, layers = layered_container(home, FakeStep(home)), own_layers(home)
    assert LayeredRoot.of(layers._replace(lower=layers.lower * 30), container, "/tmp")
    assert LayeredRoot.of(layers._replace(lower=layers.lower * 30), container, "/" + "deep/" * 10) is None


def test_an_upper_directory_with_redirections_is_refused(home: Path) -> None:
    layers = own_layers(home)._replace(xattrs="user.")
    (home / "own/diff/moved").mkdir()
    layered = LayeredRoot(layers, layered_container(home, FakeStep(home))._replace(user_id=0), "/tmp")
    with Interruption() as interruption, Children(interruption) as children:
        assert layered.prepare(children, keep=True)
        os.setxattr(home / "own/diff/moved", "user.overlay.opaque", b"y")
        assert layered.prepare(children, keep=True)
        os.setxattr(home / "own/diff/moved", "user.overlay.redirect", b"/was")
        assert not layered.prepare(children, keep=True)


def foreign_files(home: Path, memory: str = "") -> Foreign | None:
    layers = own_layers(home)
    with Interruption() as interruption, Children(interruption) as children:
        return foreign.find_foreign(children, layers, f"{home}/own/merged", (os.getuid(), os.getgid()), memory)


@pytest.fixture
def theirs(home: Path) -> Path:
    """A layer with another user's files, as the root filesystem shows them."""
    for top in (home / "one/diff", home / "own/merged"):
        (top / "open/closed/deep").mkdir(parents=True)
        for name in ("open/file", "open/mine", "open/closed/mine", "open/closed/deep/file", "gone", "link-target"):
            (top / name).write_text(name)
        for name in ("open/file", "open/closed", "open/closed/deep/file", "gone", "link-target"):
            os.chown(top / name, 4321, 4321)
        (top / "open/closed").chmod(0o700)
    (home / "own/merged/gone").unlink()
    return home


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_foreign_files_include_those_in_closed_directories(theirs: Path) -> None:
    assert foreign_files(theirs) == Foreign(
        names=(
            *(b"", b"link-target", b"open", b"open/closed/deep", b"open/closed/deep/file", b"open/closed/mine"),
            b"open/file",
        ),
        closed=(b"open/closed",),
        size=sum(map(len, ("link-target", "open/closed/deep/file", "open/closed/mine", "open/file"))),
    )


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_the_list_of_a_layer_is_kept(theirs: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    first = foreign_files(theirs, str(memory))
    (theirs / "own/merged/open/file").unlink()
    (theirs / "one/diff/open/file").unlink()  # a change of a layer, which no engine makes, isn't noticed
    assert len(list(memory.iterdir())) == 2
    second = foreign_files(theirs, str(memory))
    assert first is not None
    assert second is not None
    assert set(first.names) - set(second.names) == {b"open/file"}
    (theirs / "own/merged/open/file").write_text("of the container's own")
    assert foreign_files(theirs, str(memory)) == second


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_a_persons_own_directory_has_no_list(theirs: Path, tmp_path: Path) -> None:
    """It may change: podman run --rootfs DIRECTORY:O."""
    theirs = theirs.rename(tmp_path / "mine")
    foreign_files(theirs, str(tmp_path / "memory"))
    assert not (tmp_path / "memory").exists()


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_no_link_of_a_container_leaves_its_root(theirs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.chown((outside / "file"), 4321, 4321) if (outside / "file").write_text("secret") else None
    merged = theirs / "own/merged"
    (merged / "open").rename(merged / "away")
    (merged / "open").symlink_to(outside)
    files = foreign_files(theirs)
    assert files is not None
    assert files.names == (b"", b"link-target")


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_too_many_foreign_files_are_refused(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_MOST", 3)
    assert foreign_files(theirs) is None


def test_whiteouts_and_opaque_directories_arrive(home: Path) -> None:
    upper = home / "own/diff"
    (upper / "anew").mkdir(mode=0o750)
    os.setxattr(upper / "anew", "user.overlay.opaque", b"y")
    os.setxattr(upper / "anew", "user.overlay.origin", b"")
    os.mknod(upper / "gone", stat.S_IFCHR, 0)
    members = [
        headers.member(os.fsencode(upper / name), name.encode(), "user.*", layer=True) for name in ("anew", "gone")
    ]
    members.append(headers.opaque_directory(os.fsencode(home / "one"), b"closed", "user.*"))
    there = home / "there"
    there.mkdir()
    argv = ["tar", "--extract", "--file=-", "--preserve-permissions", "--xattrs", "--xattrs-include=user.*"]
    subprocess.run(argv, cwd=there, input=b"".join(one for one in members if one) + headers.END, check=True)
    assert os.listxattr(there / "anew") == os.listxattr(there / "closed") == ["user.overlay.opaque"]
    assert stat.S_IMODE((there / "anew").stat().st_mode) == 0o750
    assert headers.is_whiteout((there / "gone").stat())
    assert headers.member(os.fsencode(upper / "gone"), b"gone", "user.*") is None  # outside of a layer it is a device


@needs_mounts
def test_a_missing_layer_in_place_is_carried(home: Path) -> None:
    step = FakeStep(home, hidden=[home / "one"])
    container, notes = layered_container(home, step)._replace(overlay=None), Notes()
    (home / "one/diff/file").write_text("carried")
    layered = LayeredRoot(own_layers(home), container, str(step.node_dir))
    layered.in_place = frozenset(layered.layers.lower)
    part = Part("rootfs", container.rootfs, is_directory=True, writable=True)
    options = StagingOptions(cache_dir=str(step.node_dir))
    with Interruption() as interruption, Children(interruption) as children:
        args = container, step, str(step.node_dir), notes, options, children
        with Transfer(*args) as transfer:
            assert transfer.run([part], lambda _mode, _home: {}, {}, layered) == "copy"
    assert f"{home}/one/diff: can't be used: the layers of" in notes.at("info")
    assert (on_node(step) / "rootfs/file").read_text() == "carried"
    assert [name for name in os.listdir(on_node(step).parent) if name.endswith("~l")] == []


@needs_mounts
def test_a_node_without_overlay_gets_the_whole_root(home: Path) -> None:
    (home / "own/merged/file").write_text("carried")
    step = FakeStep(home, hidden=[home / "one"])
    step.path = f"{home}/bin:{step.path}"
    (home / "bin").mkdir()
    (home / "bin/mount").write_text("#!/bin/sh\nexit 1\n")
    (home / "bin/mount").chmod(0o755)
    container, notes = layered_container(home, step), Notes()
    layered = LayeredRoot(own_layers(home), container, str(step.node_dir))
    layered.in_place = frozenset(layered.layers.lower[:1])
    part = Part("rootfs", container.rootfs, is_directory=True, writable=True)
    options = StagingOptions(cache_dir=str(step.node_dir))
    with Interruption() as interruption, Children(interruption) as children:
        args = container, step, str(step.node_dir), notes, options, children
        with Transfer(*args) as transfer:
            assert transfer.run([part], lambda _mode, _home: {}, {}, layered) == "plain"
    assert "no overlay can be mounted: the layers of" in notes.at("info")
    assert (on_node(step) / "rootfs/file").read_text() == "carried"
    assert not (on_node(step) / "l").exists()
