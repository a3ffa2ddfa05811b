"""What is remembered of the nodes, and how this host describes a path."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from scrun import fastjson
from scrun.staging import facts
from scrun.staging.known import NAME, Known, forget
from scrun.staging.mountinfo import MountTable

MOUNTS = MountTable(
    b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
    b"2 1 0:50 / /home rw - nfs4 server:/home rw\n"
    b"3 2 8:2 / /home/local rw - xfs /dev/sdb rw\n"
    b"4 1 0:60 / /run rw - tmpfs tmpfs rw\n"
    b"5 1 0:61 / /merged rw - overlay overlay rw\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / NAME


def test_nothing_is_known_at_first(file: Path) -> None:
    assert not Known(str(file), MOUNTS).says("/home/alice", ["node1"])


def test_a_seen_path_stands_for_its_mount(file: Path) -> None:
    Known(str(file), MOUNTS).learn(["/home/alice/bundle"], [], ["node1"])
    known = Known(str(file), MOUNTS)
    assert known.says("/home/bob/other", ["node1"])
    assert not known.says("/home/local/x", ["node1"]), "another mount below it"
    assert not known.says("/etc", ["node1"])
    assert not known.says("/home/alice", ["node1", "node2"]), "every node has to be known"


def test_what_is_learnt_later_is_added(file: Path) -> None:
    Known(str(file), MOUNTS).learn(["/home/x"], [], ["node1"])
    Known(str(file), MOUNTS).learn(["/home/x"], [], ["node2"])
    assert Known(str(file), MOUNTS).says("/home/x", ["node1", "node2"])


def test_knowledge_grows_old(file: Path) -> None:
    Known(str(file), MOUNTS).learn(["/home/x"], [], ["node1"])
    learnt = fastjson.loads(file.read_text())
    file.write_text(fastjson.dumps({key: int(time.time()) - 601 for key in learnt}))
    assert not Known(str(file), MOUNTS).says("/home/x", ["node1"])


def test_no_time_to_remember_means_to_ask_always(file: Path) -> None:
    Known(str(file), MOUNTS, 0).learn(["/home/x"], [], ["node1"])
    assert not file.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"node1": "x"}', "{", "null"])
def test_a_damaged_file_is_as_good_as_none(file: Path, content: str) -> None:
    file.write_text(content)
    known = Known(str(file), MOUNTS)
    assert not known.says("/home/x", ["node1"])
    known.learn(["/home/x"], [], ["node1"])
    assert Known(str(file), MOUNTS).says("/home/x", ["node1"])


def test_a_node_not_seeing_memory_is_another_host(file: Path) -> None:
    Known(str(file), MOUNTS).learn([], ["/run/bundle"], ["node1"])
    known = Known(str(file), MOUNTS)
    assert known.denies("/merged", ["node1"])
    assert known.denies("/run/x", ["node1", "node2"]), "all of them would have to see it"
    assert not known.denies("/run/x", ["node2"])
    assert not known.denies("/home/x", ["node1"]), "a disk or a server may be seen all the same"


def test_a_missing_disk_is_not_asked_for_again(file: Path) -> None:
    Known(str(file), MOUNTS).learn([], ["/var/lib/docker/x"], ["node1"])
    known = Known(str(file), MOUNTS)
    assert known.denies("/var/lib/docker/y", ["node1"])
    assert known.denies("/var/lib/docker/y", ["node1", "node2"]), "one that lacks it is enough"
    assert not known.denies("/var/lib/docker/y", ["node2"])
    assert not known.denies("/home/local/x", ["node1"]), "another disk"


@pytest.mark.parametrize(
    ("seen", "unseen", "nodes"),
    [
        ((), "/home/x", ["node1"]),  # a server's: the path may only be new there
        ((), "/var/x", ["node1", "node2"]),  # which of them?
        (("/var/y",), "/var/x", ["node1"]),  # a disk that they do share, then
    ],
)
def test_an_unseen_path_says_nothing_of_others(
    file: Path, seen: tuple[str, ...], unseen: str, nodes: list[str]
) -> None:
    Known(str(file), MOUNTS).learn(seen, [unseen], nodes)
    assert not Known(str(file), MOUNTS).denies(unseen, nodes)


def test_what_was_carried_last_is_expected_again(file: Path) -> None:
    known, there = Known(str(file), MOUNTS), "/run/docker/moby"
    assert not known.carries("one", f"{there}/one", ["node1"])
    known.learn_carries("one", f"{there}/one", ["node1"])
    assert Known(str(file), MOUNTS).carries("two", f"{there}/two", ["node1"])
    assert not known.carries("two", f"{there}/two", ["node1", "node2"])
    assert not known.carries("two", "/home/two", ["node1"])
    Known(str(file), MOUNTS).forget_carries("two", f"{there}/two", ["node1"])
    assert not Known(str(file), MOUNTS).carries("three", f"{there}/three", ["node1"])


def test_forgotten_paths_are_asked_again(file: Path) -> None:
    Known(str(file), MOUNTS).learn(["/home/x"], [], ["node1"])
    forget(str(file))
    forget(str(file))
    assert not Known(str(file), MOUNTS).says("/home/x", ["node1"])


def test_host_and_node_describe_a_directory_alike(tmp_path: Path) -> None:
    for name in ("b", "a", "é", "with space", "new\nline"):
        (tmp_path / name).touch()
    fact = facts.describe([str(tmp_path)])[0]
    assert fact
    environment = {**os.environ, "LC_ALL": "C"}
    script = "ls -A | cksum | tr ' ' .; stat -c '%d %i %f %s %.9Y' ."
    names, status = subprocess.check_output(["sh", "-c", script], cwd=tmp_path, env=environment, text=True).splitlines()
    assert fact.names == names
    assert status == f"{fact.device} {fact.inode} {fact.mode:x} {fact.size} {fact.mtime}"


def test_what_cannot_be_examined_has_no_description(tmp_path: Path) -> None:
    assert facts.describe([str(tmp_path / "none")]) == [None]


def test_a_clock_set_back_makes_nothing_known(file: Path) -> None:
    Known(str(file), MOUNTS).learn(["/home/x"], [], ["node1"])
    learnt = fastjson.loads(file.read_text())
    file.write_text(fastjson.dumps({key: int(time.time()) + 10**6 for key in learnt}))
    assert not Known(str(file), MOUNTS).says("/home/x", ["node1"])
