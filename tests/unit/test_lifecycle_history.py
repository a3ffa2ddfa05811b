"""What ran is kept in a file that is the caller's alone, whatever others have put in its place, or in syslog."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import ScrunError, UsageError
from scrun.lifecycle.container import history

RECORD: dict[str, Any] = {
    "id": "fit",
    "owner": "alice",
    "host": "login/5f2c81aa.c0ffee.1.2",
    "job": 42,
    "step": "0",
    "nodes": "node[1-2]",
    "job_environment": ["SLURM_JOB_PARTITION=debug", "SECRET=Xyzzy"],
    "environment": {"TOKEN": "Xyzzy"},
    "annotations": {"token": "Xyzzy"},
    "created": "c",
    "started": "s",
    "finished": "f",
    "exit_status": 7,
    "bundle": "/b",
    "command": ["sh", "-c", "true"],
}


@pytest.mark.parametrize(
    ("variable", "setting", "places"),
    [
        ("", "", []),
        ("no", "no", []),
        ("/a", "", ["/a"]),
        ("/a", "syslog", ["/a", "syslog"]),
        ("no", "syslog", ["syslog"]),
        ("syslog", "syslog", ["syslog"]),
        ("/x/%U", "", [f"/x/{os.getuid()}"]),
    ],
)
def test_where_it_is_wanted(variable: str, setting: str, places: list[str]) -> None:
    assert history.places({"SCRUN_HISTORY": variable}, {"History": setting}) == places


@pytest.mark.parametrize("value", ["x", "./x", "~/x", "yes"])
def test_what_is_neither_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="SCRUN_HISTORY"):
        history.places({"SCRUN_HISTORY": value}, {})
    with pytest.raises(UsageError, match=r"oci\.conf: History"):
        history.places({}, {"History": value})


def test_a_line_has_what_ran_and_no_variable() -> None:
    text = history.line(RECORD)
    assert "Xyzzy" not in text
    assert "\n" not in text
    found = json.loads(text)
    assert (found["nodes"], found["partition"], found["exitStatus"]) == (["node1", "node2"], "debug", 7)
    assert (found["host"], found["user"], found["command"]) == ("login", "alice", ["sh", "-c", "true"])


def test_a_long_command_is_cut() -> None:
    found = json.loads(history.line({**RECORD, "command": ["sh", "x" * 5000, "y"]}))
    assert len(found["command"]) == 2
    assert len(history.line({**RECORD, "command": ["x"] * 50_000})) < 16_000


def test_a_private_file_is_made_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "state/scrun/history.jsonl"
    history.append(str(path), "one")
    history.append(str(path), "two")
    assert path.read_text() == "one\ntwo\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def link(path: Path) -> None:
    path.with_name("target").write_text("")
    path.symlink_to(path.with_name("target"))


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def second_name(path: Path) -> None:
    path.with_name("target").write_text("")
    path.hardlink_to(path.with_name("target"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def anybodys(path: Path) -> None:
    path.write_text("")
    path.chmod(0o666)


@pytest.mark.parametrize("make", [link, dangling, second_name, pipe, directory, anybodys])
def test_what_somebody_has_put_there_is_not_written(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "history"
    make(path)
    with pytest.raises(ScrunError, match="what ran can't be kept"):
        history.append(str(path), "secret")
    with pytest.raises(ScrunError, match="what ran can't be kept"):
        history.check(str(path))
    target = tmp_path / "target"
    assert not target.exists() or target.read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("")
    os.chown(path, 12345, 12345)
    with pytest.raises(ScrunError, match="its user alone"):
        history.append(str(path), "secret")
    assert path.read_text() == ""


def others_may_write(path: Path) -> None:
    path.chmod(0o777)


def another_users(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("make", [others_may_write, another_users])
@pytest.mark.parametrize("way", ["there", "there/below", "there/link", "linked/below"])
def test_a_directory_that_others_can_change_is_refused(tmp_path: Path, make: Any, way: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "there/link").symlink_to("../elsewhere")
    (tmp_path / "linked").symlink_to("there")
    make(tmp_path / "there")
    path = tmp_path / way / "history"
    with pytest.raises(ScrunError, match=r"others can change what is in .*/(there|linked): name a file"):
        history.append(str(path), "secret")
    with pytest.raises(ScrunError, match="others can change what is in"):
        history.check(str(path))
    assert not path.exists()


def test_a_full_file_gets_a_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LARGEST", 10)
    path = tmp_path / "history"
    for number in range(4):
        history.append(str(path), f"line {number} of it")
    assert path.read_text() == "line 3 of it\n"
    assert (tmp_path / "history.1").read_text() == "line 2 of it\n"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    history.check(str(tmp_path / "a/b/history"))
    assert not [*tmp_path.iterdir()]
    if os.geteuid():
        with pytest.raises(ScrunError, match="/proc can't be written"):
            history.check("/proc/nosuch/history")
