"""How changes travel back: over the nodes' connections, or through srun where there is no way or little to send."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from test_staging_bring_back import Run, TwoNodes
from test_staging_node import bundle, needs_mounts

from scrun.errors import StagingError
from scrun.staging.child import Standing
from scrun.staging.stage_out import stage_out

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bundle"]

pytestmark = [pytest.mark.slow, needs_mounts]

MUCH = os.urandom(1 << 20)
NO_ROUTE = "255.255.255.255"  # no connection goes to everybody


def test_much_data_comes_over_a_connection(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/much").write_bytes(MUCH)
    run.step.most_said = 10_000
    run.out()
    assert (run.rootfs / "much").read_bytes() == MUCH
    assert len(run.step.started) == 3, "probe, transfer, and one step that brings back and cleans up"


def test_little_data_of_one_node_comes_through_srun(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/little").touch()
    run.step.login = NO_ROUTE
    run.out()
    assert (run.rootfs / "little").exists()
    assert "can't connect" not in run.notes.at("debug"), "nobody has tried"


def test_all_nodes_send_in_one_step(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    (it.first / "of node1").write_bytes(MUCH)
    (it.second / "of node2").write_bytes(MUCH)
    it.step.most_said = 10_000
    assert it.out() == ""
    assert (it.rootfs / "of node1").read_bytes() == (it.rootfs / "of node2").read_bytes() == MUCH
    assert len(it.step.started) == 3


def test_a_node_without_changes_is_not_read(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    (it.second / "of node2").write_bytes(MUCH)
    assert it.out() == ""
    assert (it.rootfs / "of node2").read_bytes() == MUCH


def test_srun_carries_everything_without_a_connection(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    it.step.login = NO_ROUTE
    (it.first / "of node1").write_bytes(MUCH)
    (it.second / "of node2").write_bytes(MUCH)
    (it.second / "etc/passwd").unlink()
    assert it.out() == ""
    assert (it.rootfs / "of node1").read_bytes() == (it.rootfs / "of node2").read_bytes() == MUCH
    assert not (it.rootfs / "etc/passwd").exists()
    assert "node1, node2 can't connect to port" in it.notes.at("debug")
    assert len(it.step.started) == 3, "it is the same step"


def test_the_end_of_an_archive_stays_its_own(tmp_path: Path, bundle: Path) -> None:
    """Behind its last entry an archive has zeros, which may come late."""
    it = TwoNodes(tmp_path, bundle)
    it.step.login = NO_ROUTE
    (it.first / "of node1").write_bytes(MUCH)
    (it.second / "of node2").write_bytes(MUCH)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "tar").write_text(
        f"""#!/bin/sh
PATH={it.step.path}
all=$(mktemp)
tar "$@" >"$all"
head -c 100000 "$all"; sleep 0.6
tail -c +100001 "$all" | head -c -1024; sleep 0.3
tail -c 1024 "$all"
rm "$all"
"""
    )
    (programs / "tar").chmod(0o755)
    it.step.path = f"{programs}:{it.step.path}"
    assert it.out() == ""
    assert (it.rootfs / "of node1").read_bytes() == (it.rootfs / "of node2").read_bytes() == MUCH
    assert "once more" not in it.notes.at("info")


def break_tar(run: Run | TwoNodes, scratch: Path, times: int) -> None:
    """Have the node's tar end halfway, so many times."""
    programs = scratch / "programs"
    programs.mkdir()
    tar = programs / "tar"
    tar.write_text(
        f"""#!/bin/sh
echo . >>{scratch}/tries
PATH={run.step.path}
[ "$(wc -l <{scratch}/tries)" -le {times} ] || exec tar "$@"
tar "$@" | head -c 100000
echo 'tar: the disk is broken' >&2
exit 2
"""
    )
    tar.chmod(0o755)
    run.step.path = f"{programs}:{run.step.path}"


@pytest.mark.parametrize("login", ["127.0.0.1", NO_ROUTE], ids=["connection", "srun"])
def test_a_stream_broken_once_is_sent_again(tmp_path: Path, bundle: Path, login: str) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/much").write_bytes(MUCH)
    run.step.login = login
    break_tar(run, tmp_path, 1)
    run.out()
    assert (run.rootfs / "much").read_bytes() == MUCH
    assert "node1: tar: the disk is broken" in run.notes.at("info")
    assert "is made once more" in run.notes.at("info")


def test_what_is_unchanged_is_not_archived(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    break_tar(run, tmp_path, 9)
    run.out()
    assert not (tmp_path / "tries").exists()


def test_a_lost_standing_step_is_no_try(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, bundle, stands=True)
    (run.there / "rootfs/much").write_bytes(MUCH)
    break_tar(run, tmp_path, 1)  # of steps that begin from here on
    assert run.step.standing
    os.write(run.step.standing._orders, b"no such order\n")
    run.step.standing._child.process.wait()
    monkeypatch.setattr(Standing, "serves", lambda *_: True)  # it ended after it was looked at
    run.out()
    assert (run.rootfs / "much").read_bytes() == MUCH


@pytest.mark.parametrize("login", ["127.0.0.1", NO_ROUTE], ids=["connection", "srun"])
def test_a_stream_broken_twice_is_kept_there(tmp_path: Path, bundle: Path, login: str) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/much").write_bytes(MUCH)
    run.step.login = login
    (run.there / "short").write_text("7-short~l\n")
    (run.there.parent / "7-short~l").symlink_to("what is renamed")
    break_tar(run, tmp_path, 2)
    with pytest.raises(StagingError, match=r"the disk is broken.*they are still in node1:.*/kept-7-web"):
        run.out()
    kept = run.there.with_name("kept-7-web")
    assert (kept / "rootfs/much").read_bytes() == MUCH
    assert os.listdir(kept.parent) == [kept.name]
    assert not (run.rootfs / "much").exists()
    assert not [name for name in os.listdir(run.rootfs) if name.startswith(".scrun")]


@pytest.mark.parametrize("login", ["127.0.0.1", NO_ROUTE], ids=["connection", "srun"])
def test_files_that_tar_cannot_read_are_kept_there(tmp_path: Path, bundle: Path, login: str) -> None:
    """tar goes on after such a file, so its archive has an end."""
    run = Run(tmp_path, bundle)
    run.step.login = login
    (run.there / "rootfs/much").write_bytes(MUCH)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "tar").write_text(f'#!/bin/sh\nPATH={run.step.path}\ntar "$@" no-such-file\n')
    (programs / "tar").chmod(0o755)
    run.step.path = f"{programs}:{run.step.path}"
    with pytest.raises(StagingError, match=r"no-such-file: Cannot stat.*they are still in node1:.*/kept-7-web"):
        run.out()
    assert (run.there.with_name("kept-7-web") / "rootfs/much").exists()


def test_a_node_that_fails_does_not_delay_another(tmp_path: Path, bundle: Path) -> None:
    """Others' tasks wait for orders, so srun's stdout doesn't end with the task of a node that fails."""
    it = TwoNodes(tmp_path, bundle)
    it.step.login = NO_ROUTE
    (it.first / "of node1").write_bytes(MUCH)
    (it.second / "of node2").write_bytes(MUCH)
    break_tar(it, tmp_path, 9)
    with pytest.raises(StagingError, match=r"the disk is broken.*they are still in node1, node2:.*/kept-7-web"):
        it.out()


def test_an_unread_directory_removes_no_files(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "find").write_text(
        f"""#!/bin/sh
PATH={run.step.path}
rm -r rootfs/etc
find "$@"
echo "find: 'rootfs/etc': Input/output error" >&2
exit 1
"""
    )
    (programs / "find").chmod(0o755)
    run.step.path = f"{programs}:{run.step.path}"
    with pytest.raises(StagingError, match=r"node1: .*rootfs/etc': Input/output error: they are still in node1:"):
        run.out()
    assert (run.rootfs / "etc/passwd").exists()


def test_a_list_without_room_removes_no_files(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    size = (run.there / "before").stat().st_size
    blocks, count = size // 512 + 1, 0
    while size <= blocks * 512:  # as many files as the list of all has just no room for
        new = run.there / f"rootfs/etc/{count}"
        new.touch()
        size += len(f"{new.stat().st_ino} rootfs/etc/{count}_")
        count += 1
    run.step.prefix = ["sh", "-c", f'trap "" XFSZ; ulimit -f {blocks}; exec "$@"', "sh"]
    with pytest.raises(StagingError, match=r"node1: .*No space left on device: they are still in node1:.*/kept-7-web"):
        run.out()
    assert (run.rootfs / "etc/passwd").exists()
    assert (run.there.with_name("kept-7-web") / "rootfs/etc/0").exists()


def test_an_interruption_while_sending_leaves_everything_there(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/much").write_bytes(MUCH)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "tar").write_text(f"#!/bin/sh\ntouch {tmp_path}/sending\nexec sleep 1000\n")
    (programs / "tar").chmod(0o755)
    run.step.path = f"{programs}:{run.step.path}"

    def interrupt() -> None:
        while not (tmp_path / "sending").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(StagingError) as caught:
            stage_out(run.container, run.staged, run.step, log=run.notes)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "interrupted by SIGTERM" in str(caught.value)
    assert came == [signal.SIGTERM], "it is passed on when nothing is left behind"
    assert (run.there / "rootfs/much").exists(), "who does it again finds it by its name"
