"""A container's directory: claimed by one, found by its id, written as a whole, removed without following anything."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scrun.errors import ContainerExists, ContainerNotFound, DamagedRecord, InvalidId, ScrunError
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import processes

Fork = Callable[..., int]


def test_what_was_saved_is_found_by_its_id(container: Container, tmp_path: Path) -> None:
    found = Container.open(str(tmp_path / "root"), "box")
    assert found.record == container.record
    assert (found.id, found.path) == ("box", str(tmp_path / "root" / "box"))


def test_the_directory_is_its_owners_alone(container: Container, tmp_path: Path) -> None:
    for path in (tmp_path / "root", Path(container.path)):
        assert path.stat().st_mode & 0o777 == 0o700
    assert (Path(container.path) / "state.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("container_id", ["", ".", "..", ".a", "../../evil", "a/b", "a b", "a\n", "é", "a" * 1025])
def test_an_id_that_runc_refuses_is_refused(container_id: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidId):
        Container.claim(str(tmp_path / "root"), container_id)
    with pytest.raises(InvalidId):
        Container.open(str(tmp_path / "root"), container_id)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("container_id", ["nosuch", "a" * 255, "a" * 256, "a" * 1024])
def test_an_unknown_container_does_not_exist(container_id: str, tmp_path: Path) -> None:
    with pytest.raises(ContainerNotFound, match="does not exist"):
        Container.open(str(tmp_path), container_id)


def test_a_directory_without_a_record_is_no_container(tmp_path: Path) -> None:
    Container.claim(str(tmp_path), "box")
    with pytest.raises(ContainerNotFound):
        Container.open(str(tmp_path), "box")


def test_a_container_that_exists_is_not_claimed_again(container: Container, tmp_path: Path) -> None:
    with pytest.raises(ContainerExists, match="box already exists"):
        Container.claim(str(tmp_path / "root"), "box")
    assert Container.open(str(tmp_path / "root"), "box").record == container.record


def test_a_container_being_made_is_not_claimed_again(tmp_path: Path) -> None:
    held = Container.claim(str(tmp_path), "box")
    with pytest.raises(ContainerExists):
        Container.claim(str(tmp_path), "box")
    os.close(held.descriptor)


def test_a_killed_creates_half_made_directory_is_reused(tmp_path: Path) -> None:
    killed = Container.claim(str(tmp_path), "box")
    (tmp_path / "box" / "anchor.log").write_text("old")
    (tmp_path / "box" / "spool").mkdir()
    os.close(killed.descriptor)
    claimed = Container.claim(str(tmp_path), "box")
    assert os.listdir(claimed.path) == []
    with pytest.raises(ContainerExists):
        Container.claim(str(tmp_path), "box")
    os.close(claimed.descriptor)


def test_one_of_many_creates_gets_the_id(tmp_path: Path, fork: Fork) -> None:
    def claim(container_id: str, go: int, answers: int, stay: int) -> None:
        os.read(go, 1)
        try:
            Container.claim(str(tmp_path), container_id)
        except ContainerExists:
            os.write(answers, b"-")
        else:
            os.write(answers, b"+")
        os.read(stay, 1)  # the claim is held until all have tried

    for number in range(20):
        (go, start), (answers, say), (stay, leave) = os.pipe(), os.pipe(), os.pipe()
        for _ in range(8):
            fork(claim, f"box{number}", go, say, stay)
        os.write(start, b"." * 8)
        said = b""
        while len(said) < 8:
            said += os.read(answers, 8)
        os.write(leave, b"." * 8)
        assert sorted(said) == sorted(b"+-------")
        for descriptor in (go, start, answers, say, stay, leave):
            os.close(descriptor)


def test_a_missing_root_is_made_for_its_user(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(Container.claim(str(tmp_path / "a/b/root"), "box").descriptor)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/root", "a/b/root/box")]
    assert modes == [0o755, 0o755, 0o700, 0o700]


def test_a_root_that_others_can_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    with pytest.raises(ScrunError, match="others can change what is in it: name a directory of yours"):
        Container.claim(str(tmp_path / "root"), "box")
    (tmp_path / "root").chmod(0o1777)
    os.close(Container.claim(str(tmp_path / "root"), "box").descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_container_may_only_be_read(container: Container, tmp_path: Path) -> None:
    os.chown(container.path, 2001, 2001)
    assert Container.open(str(tmp_path / "root"), "box", anybodys=True).record == container.record
    with pytest.raises(ScrunError, match=r"'box' in .*/root is user 2001's: do this as that user"):
        Container.open(str(tmp_path / "root"), "box")
    os.chown(tmp_path / "root", 2001, 2001)
    with pytest.raises(ScrunError, match="others can change what is in it"):
        Container.claim(str(tmp_path / "root"), "another")


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symlink_in_a_containers_place_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "state.json").write_text("{}")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "box").symlink_to(tmp_path / target)
    for operation in (Container.claim, Container.open):
        with pytest.raises(ScrunError, match="box"):
            operation(str(tmp_path / "root"), "box")
    assert (tmp_path / "elsewhere" / "state.json").read_text() == "{}"


def test_a_record_behind_a_symlink_is_not_read(container: Container, tmp_path: Path) -> None:
    (Path(container.path) / "state.json").rename(tmp_path / "secret")
    (Path(container.path) / "state.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ScrunError) as error:
        container.load()
    assert "can't read" in str(error.value)


def test_a_root_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("/nosuch/directory")
    for root in ("file", "dangling", "file/below"):
        with pytest.raises(ScrunError, match=root):
            Container.claim(str(tmp_path / root), "box")


def test_a_root_longer_than_socket_paths_works(tmp_path: Path) -> None:
    import socket

    root = tmp_path / ("d" * 120) / ("e" * 120)
    claimed = Container.claim(str(root), "box")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(claimed.child("anchor.sock"))
    assert (root / "box" / "anchor.sock").exists()


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", "null", "7", "\udcff"])
def test_the_error_names_a_damaged_records_file(damaged: str, container: Container, tmp_path: Path) -> None:
    (Path(container.path) / "state.json").write_text(damaged, errors="surrogateescape")
    with pytest.raises(ScrunError, match=r"box/state\.json"):
        Container.open(str(tmp_path / "root"), "box")


@pytest.mark.parametrize("kind", ["pipe", "directory", "hole"])
def test_what_is_no_small_file_is_no_record(kind: str, container: Container) -> None:
    path = Path(container.path) / "state.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(DamagedRecord, match=r"state\.json: (not a regular file|more than 16 MiB): scrun delete"):
        container.load()


def test_a_failed_save_leaves_the_old_record(
    container: Container, tmp_path: Path, fork: Fork, exit_code: Callable[[int], int]
) -> None:
    def save_on_a_full_disk() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        container.record["bundle"] = "x" * 100
        try:
            container.save()
        except OSError:
            return 7
        return 0

    assert exit_code(fork(save_on_a_full_disk)) == 7
    assert Container.open(str(tmp_path / "root"), "box").record == container.record


def test_a_crash_before_renaming_leaves_the_old_record(container: Container, tmp_path: Path) -> None:
    (Path(container.path) / f"state.json.{os.getpid()}").write_text('{"half": ')
    assert Container.open(str(tmp_path / "root"), "box").record == container.record
    container.record["status"] = "running"
    container.save()
    assert json.loads((Path(container.path) / "state.json").read_text()) == container.record
    assert os.listdir(container.path) == ["state.json"]


@pytest.mark.parametrize("written", ["creating", "created", "running", "paused", "stopped"])
def test_without_its_stand_in_it_is_stopped(written: str, container: Container) -> None:
    container.record["status"] = written
    assert container.status() == written
    container.record["pid_started"] += 1  # the number belongs to another process by now
    assert container.status() == "stopped"


def test_a_lock_that_is_taken_is_told(container: Container, tmp_path: Path) -> None:
    other = Container.open(str(tmp_path / "root"), "box")
    assert container.lock(wait=False)
    assert not other.lock(wait=False)
    os.close(container.descriptor)
    assert other.lock(wait=False)
    container.descriptor = other.descriptor


def test_removal_follows_no_symlink(container: Container, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    inside = Path(container.path)
    (inside / "to-directory").symlink_to(outside)
    (inside / "to-file").symlink_to(outside / "kept")
    (inside / "dangling").symlink_to("/nosuch")
    (inside / "deep" / "er").mkdir(parents=True)
    (inside / "deep" / "er" / "up").symlink_to("../../../../outside")
    (inside / "deep" / "file").write_text("")
    os.mkfifo(inside / "fifo")
    container.remove()
    assert not inside.exists()
    assert (outside / "kept").read_text() == "kept"


def test_removing_a_container_twice_is_no_error(container: Container) -> None:
    container.remove()
    container.remove()
    with pytest.raises(ContainerNotFound):
        container.load()


def test_a_read_only_directory_below_is_removed_too(
    tmp_path: Path, fork: Fork, exit_code: Callable[[int], int]
) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)

    def as_a_plain_user() -> int:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        claimed = Container.claim(str(tmp_path / "theirs"), "box")
        below = Path(claimed.path) / "spool" / "rootfs"
        below.mkdir(parents=True)
        (below / "file").write_text("")
        below.chmod(0o555)
        claimed.remove()
        return 7 if not Path(claimed.path).exists() else 1

    assert exit_code(fork(as_a_plain_user)) == 7


def test_a_recorded_process_needs_its_start_time(container: Container) -> None:
    assert container.has_process()
    container.record["pid_started"] = processes.start_time(1) or 1
    assert not container.has_process()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a right to mount")
def test_removal_enters_nothing_that_is_mounted_below(container: Container, tmp_path: Path) -> None:
    below = Path(container.path) / "mounted"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", below], check=True)
    try:
        (below / "theirs").touch()
        with pytest.raises(ScrunError, match="mounted below the container's directory is a mount: unmount it first"):
            container.remove()
        assert (below / "theirs").exists()
    finally:
        subprocess.run(["umount", below], check=True)


def test_a_directory_taken_before_its_lock_is_remade(tmp_path: Path) -> None:
    class Late(Container):
        removals = 0

        def lock(self, *, wait: bool) -> bool:
            if not Late.removals:
                Late.removals += 1
                os.rmdir(self.path)
            return super().lock(wait=wait)

    claimed = Late.claim(str(tmp_path), "box")
    assert (Late.removals, os.path.isdir(claimed.path)) == (1, True)
    assert claimed.is_in_place()
    os.close(claimed.descriptor)
