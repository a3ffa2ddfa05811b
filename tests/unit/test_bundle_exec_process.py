"""The process object of a further process: read from a file, made of words, adapted for the node."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scrun.bundle import config, exec_process
from scrun.errors import BundleError, UsageError

if TYPE_CHECKING:
    from scrun.oci import Process

OWN: Any = {
    "args": ["sleep", "1"],
    "cwd": "/work",
    "env": ["PATH=/bin", "A=own"],
    "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
    "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
    "consoleSize": {"height": 1, "width": 2},
}
NOTHING: Any = {
    "env": (),
    "cwd": "",
    "user": "",
    "additional_gids": (),
    "capabilities": (),
    "no_new_privileges": False,
    "terminal": False,
}


def made(*args: str, **given: Any) -> Any:
    return exec_process.from_words(OWN, args, **{**NOTHING, **given})


def test_words_alone_only_replace_the_containers_arguments() -> None:
    process = made("ls", "-l")
    assert process == {key: OWN[key] for key in OWN if key != "consoleSize"} | {"args": ["ls", "-l"], "terminal": False}


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"env": ("A=1", "B=")}, "env", ["PATH=/bin", "A=own", "A=1", "B="]),
        ({"cwd": "/tmp"}, "cwd", "/tmp"),
        ({"terminal": True}, "terminal", True),
        ({"user": "8"}, "user", {"uid": 8, "gid": 6, "additionalGids": []}),
        ({"user": "8:9"}, "user", {"uid": 8, "gid": 9, "additionalGids": []}),
        ({"additional_gids": ("1", "2")}, "user", {"uid": 5, "gid": 6, "additionalGids": [1, 2]}),
        ({"no_new_privileges": True}, "noNewPrivileges", True),
        (
            {"capabilities": ("net_admin", "CAP_KILL")},
            "capabilities",
            {
                "bounding": ["CAP_KILL", "CAP_NET_ADMIN"],
                "effective": ["CAP_NET_ADMIN", "CAP_KILL"],
                "permitted": ["CAP_NET_ADMIN", "CAP_KILL"],
                "ambient": ["CAP_KILL"],
            },
        ),
    ],
)
def test_each_option_changes_its_own_part(given: Any, key: str, value: object) -> None:
    assert made("ls", **given)[key] == value


def test_a_variable_without_a_value_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "here")
    assert made("ls", env=("MINE",))["env"][-1] == "MINE=here"


def test_variable_missing_from_the_caller_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINE", raising=False)
    assert made("ls", env=("MINE", "A=b"))["env"] == [*OWN["env"], "A=b"]
    monkeypatch.setenv("MINE", "")
    assert made("ls", env=("MINE",))["env"][-1] == "MINE="


def test_differs_reports_changed_and_missing_variables() -> None:
    said, missing = exec_process.differs(["A=1", "B=2", "C=3"], ["A=1", "B=1", "D=4"])
    assert (said, missing) == ({"B", "C"}, {"D"})


@pytest.mark.parametrize(
    "given",
    [{"env": ("=x",)}, {"user": "nobody"}, {"user": "1:"}, {"user": "-1"}, {"user": "²"}, {"additional_gids": ("x",)}],
)
def test_what_cannot_be_understood_is_refused(given: Any) -> None:
    with pytest.raises(UsageError):
        made("ls", **given)


def test_a_file_is_checked_against_the_schema(tmp_path: Path) -> None:
    good = {"args": ["ls"], "cwd": "/"}
    (tmp_path / "process").write_text(json.dumps(good))
    assert exec_process.from_file(str(tmp_path / "process")) == good
    (tmp_path / "process").write_text(json.dumps({"args": "ls", "cwd": "/"}))
    with pytest.raises(BundleError, match="process: args"):
        exec_process.from_file(str(tmp_path / "process"))


def test_missing_process_file_is_not_called_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no process object .*/process: name a file with --process"):
        exec_process.from_file(str(tmp_path / "process"))


def test_a_process_object_may_come_through_a_pipe(tmp_path: Path) -> None:
    process = {"args": ["sh"], "cwd": "/"}
    read_end, write_end = os.pipe()
    os.write(write_end, json.dumps(process).encode())
    os.close(write_end)
    assert exec_process.from_file(f"/dev/fd/{read_end}") == process
    os.close(read_end)
    with pytest.raises(BundleError, match=r"^/dev/zero is not a regular file$"):
        exec_process.from_file("/dev/zero")
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(BundleError, match=r"config.json is not a regular file: it is read more than once$"):
        config.load(str(tmp_path))


def adapted(process: Any, uid: int) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return exec_process.adapted(process, {"process": OWN}, uid=uid, note=notes.append), notes


def test_root_job_keeps_the_user_but_no_label() -> None:
    process = {"args": ["ls"], "cwd": "/", "user": {"uid": 1, "gid": 1}, "apparmorProfile": "docker-default"}
    found, notes = adapted(process, 0)
    assert found == {"args": ["ls"], "cwd": "/", "user": {"uid": 1, "gid": 1}}
    assert len(notes) == 1
    assert process["apparmorProfile"] == "docker-default"


def test_unmapped_user_becomes_the_mapped_one() -> None:
    found, notes = adapted({"args": ["ls"], "cwd": "/", "user": {"uid": 0, "gid": 0, "additionalGids": [3]}}, 2000)
    assert found["user"] == {"uid": 5, "gid": 6}
    assert "user 0:0 becomes 5:6: no other is mapped on the node" in notes
    assert len(notes) == 2


def test_process_runs_as_root_where_the_container_does() -> None:
    process: Process = {"args": ["ls"], "cwd": "/", "user": {"uid": 5, "gid": 6}}
    found = exec_process.adapted(process, {"process": OWN}, uid=2000, note=lambda _line: None, keep_user=False)
    assert found["user"] == {"uid": 0, "gid": 0}


def test_no_user_at_all_is_the_containers() -> None:
    found, notes = adapted({"args": ["ls"], "cwd": "/"}, 2000)
    assert (found["user"], notes) == ({"uid": 5, "gid": 6}, [])


@pytest.mark.parametrize("given", [{"cwd": "/\udcff"}, {"env": ("A=\udcff",)}, {}])
def test_bytes_that_are_no_text_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"\\udcff.* is not UTF-8"):
        made(*(() if given else ("ls", "\udcff")), **given)
