"""What the nodes don't see is carried to them, all of it, and nothing is left when that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from test_staging_node import (
    FakeStep,
    Notes,
    as_it_is,
    bind,
    bundle,
    describe,
    fill,
    is_root,
    make_container,
    needs_mounts,
    on_node,
)

from scrun.errors import StagingError
from scrun.staging import node_directory
from scrun.staging.model import Staged
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import discard, stage_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["bundle"]

pytestmark = [pytest.mark.slow, needs_mounts]


@pytest.fixture
def full(bundle: Path) -> Path:
    """A bundle with everything in its rootfs."""
    fill(bundle / "rootfs")
    return bundle


def test_whole_rootfs_arrives_as_it_is(tmp_path: Path, full: Path) -> None:
    if not is_root:
        (full / "rootfs" / "nothing").unlink()  # which its owner can't read
    step = FakeStep(tmp_path, ["node1", "node2"], hidden=[full])
    container = make_container(full, step)
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    assert staged.bundle == f"{step.node_dir}/scrun-{os.getuid()}/7-web"
    assert len(step.started) == 2, "one probe, one transfer to all nodes"
    for node in step.nodes:
        there = on_node(step, node)
        config = json.loads((there / "config.json").read_text())
        assert config["root"]["path"] == staged.rootfs == f"{staged.bundle}/rootfs"
        assert there.stat().st_mode & 0o777 == 0o700
        assert describe(there / "rootfs") == describe(full / "rootfs")
        assert (there / "rootfs").stat().st_mode == (full / "rootfs").stat().st_mode
        assert (there / "rootfs" / "sparse").stat().st_blocks < 1000
    stage_out(container, staged, step, log=Notes())
    for node in step.nodes:
        assert os.listdir(on_node(step, node).parent) == []


def test_dropped_connections_are_not_tried_again_soon(tmp_path: Path, full: Path) -> None:
    step = FakeStep(tmp_path, ["node1", "node2"], hidden=[full])
    (tmp_path / "bin").mkdir()
    timeout = tmp_path / "bin/timeout"  # as it ends when nothing answers in its time
    timeout.write_text(
        f"#!/bin/sh\necho >>{tmp_path}/asked\n"
        f'[ "$SLURMD_NODENAME" = node1 ] || exec {shutil.which("timeout")} "$@"\nexit 124\n'
    )
    timeout.chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    container = make_container(full, step)._replace(memory=str(tmp_path / "memory"))
    for times, options in ((1, {}), (1, {}), (2, {"remember": 0})):
        notes = Notes()
        staged = stage_in(container, step, adapt=as_it_is, log=notes, options=options)
        assert len((tmp_path / "asked").read_text()) == times * 2, "both nodes at once"
        assert "srun carries it all" in notes.at("debug")
        assert describe(on_node(step, "node2") / "rootfs") == describe(full / "rootfs")
        discard(staged, step, log=notes)


def test_a_node_refused_at_once_is_asked_again(tmp_path: Path, full: Path) -> None:
    step = FakeStep(tmp_path, hidden=[full])
    (tmp_path / "bin").mkdir()
    timeout = tmp_path / "bin/timeout"
    timeout.write_text(f"#!/bin/sh\necho >>{tmp_path}/asked\nexit 1\n")
    timeout.chmod(0o755)
    step.path = f"{tmp_path}/bin:{step.path}"
    container = make_container(full, step)._replace(memory=str(tmp_path / "memory"))
    for times in (1, 2):
        discard(stage_in(container, step, adapt=as_it_is, log=Notes()), step, log=Notes())
        assert len((tmp_path / "asked").read_text()) == times


def test_volumes_are_carried_with_the_rest(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    (private / "data").mkdir(parents=True)
    fill(private / "data")
    (private / "data" / "nothing").chmod(0o600)
    (private / "-big\n\udcff").write_bytes(b"x" * 100_000)
    step = FakeStep(tmp_path, hidden=[private])
    mounts = [bind(private / "data", "/data", "ro"), bind(private / "-big\n\udcff", "/big")]
    container = make_container(bundle, step, mounts=[])
    container = container._replace(config={**container.config, "mounts": mounts})
    # The name isn't one that a config.json could have; the transfer doesn't mind.
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    assert staged.spool == f"{bundle}/.scrun-web"
    assert describe(on_node(step) / "mounts/0") == describe(private / "data")
    assert (on_node(step) / "mounts/1").read_bytes() == b"x" * 100_000
    assert not (on_node(step) / "rootfs").exists()
    config = json.loads((bundle / ".scrun-web/config.json").read_text())
    assert [mount["source"] for mount in config["mounts"]] == [
        f"{staged.node_parent}/scrun-{os.getuid()}/7-web/{n}" for n in ("mounts/0", "mounts/1")
    ]
    discard(staged, step, log=Notes())
    discard(staged, step, log=Notes())
    assert os.listdir(on_node(step).parent) == []
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


@pytest.mark.skipif(not is_root, reason="only root makes device nodes")
def test_devices_and_sockets_are_left_out_for_users(tmp_path: Path, bundle: Path) -> None:
    os.mknod(bundle / "rootfs" / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    step, notes = FakeStep(tmp_path, hidden=[bundle]), Notes()
    # Not root's job by its number; the fake node's user is root all the same, so its directory has another name.
    container = make_container(bundle, step)._replace(user_id=4711)
    stage_in(container, step, adapt=as_it_is, log=notes)
    assert not (on_node(step) / "rootfs/device").exists()
    assert (on_node(step) / "rootfs/etc/passwd").exists()
    assert "left out, a socket or device: ./device" in notes.at("info")


def test_node_directory_that_others_can_change_is_refused(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, ["node1", "node2"], hidden=[bundle])
    container = make_container(bundle, step)

    def reason() -> str:
        with pytest.raises(StagingError) as caught:
            stage_in(container, step, adapt=as_it_is, log=Notes())
        until = time.monotonic() + 60
        while [*step.own_dir("node1").glob(f"scrun-{os.getuid()}/*")]:  # a fake step's tasks outlive it for a while
            assert time.monotonic() < until
            time.sleep(0.01)
        return str(caught.value)

    step.own_dir("node2").chmod(0o777)
    assert reason() == f"node2: {step.node_dir}: others can write to it and it is not sticky: choose another directory"
    step.own_dir("node2").chmod(0o3777)
    if is_root:
        os.chown(step.own_dir("node2"), 2001, 0)
        assert "node2: " in reason()
        assert "is user 2001's, who could change what is in it" in reason()
        os.chown(step.own_dir("node2"), 0, 0)
        step.own_dir("node2").chmod(0o3777)
    (step.own_dir("node2") / f"scrun-{os.getuid()}").rmdir()
    staged = stage_in(container, step, adapt=as_it_is, log=Notes())
    assert staged.node_home == "", "scrun-UID is fine, with its setgid bit"


@pytest.mark.parametrize("taken_by", ["link", "directory", "file", "dangling link"])
def test_where_somebody_has_the_name_another_is_used(tmp_path: Path, bundle: Path, taken_by: str) -> None:
    private = tmp_path / "private/data"
    private.parent.mkdir()
    private.write_text("1")
    step, notes = FakeStep(tmp_path, ["node1", "node2"], hidden=[bundle, private.parent]), Notes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    name = f"scrun-{os.getuid()}"
    squatted = step.own_dir("node2") / name
    match taken_by:
        case "link":
            squatted.symlink_to(elsewhere)
        case "directory":
            squatted.mkdir(mode=0o755)
        case "file":
            squatted.write_text("")
        case _:
            squatted.symlink_to("nowhere")
    container = make_container(bundle, step, mounts=[bind(private, "/data")])
    for again in range(2):
        staged = stage_in(container, step, adapt=as_it_is, log=notes)
        home = staged.node_home
        assert home.startswith(f"{name}-7-")
        assert f"node2: {step.node_dir}/{name}: is not a directory of user" in notes.at("info")
        assert f"the files go to {step.node_dir}/{home}" in notes.at("info")
        assert staged == Staged.from_dict(staged.to_dict())
        assert staged.bundle == f"{step.node_dir}/{home}/7-web"
        for node in step.nodes:
            there = step.own_dir(node) / home
            assert stat.S_IMODE(there.stat().st_mode) == 0o700
            config = json.loads((there / "7-web/config.json").read_text())
            assert config["mounts"][0]["source"] == f"{staged.bundle}/mounts/0"
            assert config["root"]["path"].startswith(f"{staged.bundle}/root")
        node_directory.write_again(step, staged.node_parent, home, staged.node_name, {"mounts/0": b"2\0"})
        assert (there / "7-web/mounts/0").read_bytes() == b"2\0"
        (there / "7-web/rootfs/made").write_text(str(again))
        stage_out(container, staged, step, log=notes)
        assert (bundle / "rootfs/made").read_text() == str(again)
        assert not there.exists()
    assert os.listdir(elsewhere) == []
    assert squatted.is_symlink() or squatted.is_file() or os.listdir(squatted) == []
    staged = stage_in(container, step, adapt=as_it_is, log=notes)
    discard(staged, step, log=notes)
    assert sorted(os.listdir(step.own_dir("node2"))) == [name]


@needs_mounts
def test_this_hosts_own_root_is_not_carried(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrun.staging.probe.probe", lambda _step, paths, *_: ([False] * len(paths), None))
    step = FakeStep(tmp_path, hidden=[bundle])
    container = make_container(bundle, step)._replace(rootfs="/")
    with pytest.raises(StagingError, match=r"root\.path: / of this host can't be carried to node1"):
        stage_in(container, step, adapt=as_it_is, log=Notes(), options={"cache": False})
    assert not on_node(step).exists()


def test_missing_node_directory_is_named(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, hidden=[bundle])
    container = make_container(bundle, step)
    with pytest.raises(StagingError, match=r"node1: /no/such: no such directory"):
        stage_in(container, step, adapt=as_it_is, log=Notes(), options={"node_dir": "/no/such"})


class SmallDisk(FakeStep):
    """node1's directory is a tmpfs of 1 MB, made anew for each step."""

    def _command(self, node: str, argv: Any) -> list[str]:
        command = super()._command(node, argv)
        if node == "node1":
            at = command.index("--")
            mount = 'mount -t tmpfs -o size=1m,mode=700 none "$0" && exec "$@"'
            command[at + 1 : at + 1] = ["sh", "-c", mount, str(self.node_dir)]
        return command


@pytest.mark.skipif(not is_root, reason="only root mounts a small disk")
def test_full_disk_is_told_with_node_and_path(tmp_path: Path, bundle: Path) -> None:
    for index in range(40):
        (bundle / "rootfs" / f"file{index}").write_bytes(os.urandom(1 << 20))
    step = SmallDisk(tmp_path, ["node1", "node2"], hidden=[bundle])
    with pytest.raises(StagingError) as caught:
        stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert str(caught.value) == f"node1: {step.node_dir}/scrun-0/7-web: No space left on device"
    assert os.listdir(step.own_dir("node2") / "scrun-0") == []


def test_source_that_vanishes_is_told_and_nothing_stays(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, hidden=[bundle])
    container = make_container(bundle, step)._replace(rootfs=str(bundle / "gone"))
    with pytest.raises(StagingError, match=r"can't read .*gone: No such file or directory"):
        stage_in(container, step, adapt=as_it_is, log=Notes())
    assert not on_node(step).exists()
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


def test_unreadable_files_are_left_out_with_a_note(tmp_path: Path, bundle: Path) -> None:
    if is_root:
        pytest.skip("root reads everything")
    (bundle / "rootfs" / "secret").touch(0o000)
    step, notes = FakeStep(tmp_path, hidden=[bundle]), Notes()
    stage_in(make_container(bundle, step), step, adapt=as_it_is, log=notes)
    assert (on_node(step) / "rootfs/etc/passwd").exists()
    assert "not all could be carried" in notes.at("info")


# Takes 50 MB in half a minute, unless there is no more to take.
_SLOW_TAR = """#!/bin/sh
mkdir rootfs
touch rootfs/started
while [ "$(head -c 1000000 | wc -c)" -gt 0 ]; do sleep 0.3; done
exit 2
"""
_WORKER = """
import os, sys, signal
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_staging_node import FakeStep, as_it_is, make_container
from scrun.staging.stage_in import stage_in
tmp, bundle = Path(sys.argv[3]), Path(sys.argv[4])
step = FakeStep(tmp, ["node1", "node2"], hidden=[bundle])
step.path = f"{tmp}/bin:{step.path}"
def cancelled(number, frame):
    os.write(1, b"handled\\n")
    os._exit(3)
signal.signal(signal.SIGTERM, cancelled)
stage_in(make_container(bundle, step), step, adapt=as_it_is, log=lambda level, line: None)
os.write(1, b"finished\\n")
"""


def running(session: int) -> list[str]:
    """What runs on in a session; the dead may wait for whoever reaps them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                line = file.read()
        except OSError:
            continue
        state, _, _, its_session = line[line.rindex(")") + 1 :].split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(line)
    return found


def test_an_interrupted_transfer_cleans_up_before_signal_handling(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tar").write_text(_SLOW_TAR)
    (tmp_path / "bin" / "tar").chmod(0o755)
    (bundle / "rootfs" / "big").write_bytes(os.urandom(50 << 20))
    here = os.path.dirname(__file__)
    source = os.path.join(here, "..", "..", "src")
    argv = [sys.executable, "-c", _WORKER, here, source, str(tmp_path), str(bundle)]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    nodes = [tmp_path / f"dir-of-{node}/scrun-{os.getuid()}" for node in ("node1", "node2")]
    end = time.monotonic() + 50
    while not all((node / "7-web/rootfs/started").exists() for node in nodes) and time.monotonic() < end:
        time.sleep(0.005)
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=40)
    assert (said, worker.returncode) == ("handled\n", 3)
    while time.monotonic() < end and running(worker.pid):
        time.sleep(0.01)
    assert running(worker.pid) == []
    assert [os.listdir(node) for node in nodes] == [[], []]
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


class SharedDirectory(FakeStep):
    """Two nodes that have the same directory."""

    def __init__(self, scratch: Path, hidden: Sequence[Path]) -> None:
        super().__init__(scratch, ["node1"], hidden)
        self.nodes.append("node2")

    def own_dir(self, _node: str) -> Path:
        return super().own_dir("node1")


def test_a_shared_node_directory_is_refused(tmp_path: Path, bundle: Path) -> None:
    step = SharedDirectory(tmp_path, hidden=[bundle])
    with pytest.raises(StagingError, match=r"node[12]: .*: is shared with node[12]: name a node_dir"):
        stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())
    assert os.listdir(on_node(step).parent) == []
