"""Messages: the formats that docker and podman parse, the levels of scrun(1), and a log that can't be written."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from scrun import log, operations
from scrun.errors import ScrunError
from scrun.grammar import GLOBAL_OPTIONS, Call

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
    ],
)
def test_a_timestamp_is_rfc_3339_in_utc_with_nanoseconds(nanoseconds: int, text: str) -> None:
    assert log.timestamp(nanoseconds) == text


def test_the_time_is_now_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time_ns()
    assert log.timestamp(before) <= log.timestamp() <= log.timestamp(time.time_ns())


MESSAGES = ["plain", 'with "quotes" and \\', "two\nlines", "unicode ☃", "not text \udcff", ""]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_json_log_is_a_stream_of_objects_one_a_line(message: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.Log(str(path), json=True).say("error", message)
    (line,) = path.read_bytes().splitlines()
    entry = json.loads(line)
    assert set(entry) == {"level", "msg", "time"}
    assert (entry["level"], entry["msg"]) == ("error", message)
    assert RFC_3339.fullmatch(entry["time"])


@pytest.mark.parametrize("message", MESSAGES)
def test_a_text_log_has_one_line_a_message_as_runcs(message: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.Log(str(path)).say("error", message)
    (line,) = path.read_text().splitlines()
    found = re.fullmatch(r'time="([^"]*)" level=error msg=("(?:[^"\\]|\\.)*")', line)
    assert found
    assert RFC_3339.fullmatch(found[1])
    assert json.loads(found[2]) == message


@pytest.mark.parametrize(
    ("ours", "logrus"),
    [("fatal", "error"), ("error", "error"), ("info", "info"), ("verbose", "debug"), ("debug", "debug")],
)
def test_a_json_log_uses_the_levels_that_docker_knows(ours: str, logrus: str) -> None:
    assert json.loads(log.json_line(ours, "m"))["level"] == logrus


@pytest.mark.parametrize("threshold", log.LEVELS)
def test_a_message_is_written_when_it_is_as_important_as_the_level(
    threshold: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    rank = log.rank(threshold)
    logger = log.Log(str(path), file_rank=rank, stderr_rank=rank)
    for level in log.LEVELS[1:]:
        logger.say(level, f"at {level}")
    expected = [f"at {level}" for level in log.LEVELS[1 : rank + 1]]
    assert re.findall(r'msg="([^"]*)"', path.read_text()) == expected
    assert capfd.readouterr().err.splitlines() == [f"scrun: {message}" for message in expected]


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log.Log(str(path)).say("error", "after")
    assert path.read_text().startswith("before\ntime=")


def test_a_log_that_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ScrunError, match=f"can't write the log {tmp_path}: Is a directory"):
        log.Log(str(tmp_path))


def test_a_full_disk_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.Log("/dev/full").say("error", "lost in the file")
    assert capfd.readouterr().err == "scrun: lost in the file\n"


@pytest.mark.parametrize("name", ["debug", "DEBUG", "Debug5", "quiet"])
def test_a_level_is_known_by_its_name_in_any_case(name: str) -> None:
    assert log.LEVELS[log.rank(name)] == name.lower()


def test_an_unknown_level_is_an_error_that_lists_them() -> None:
    with pytest.raises(ScrunError, match=r"'loud' is unknown: use one of quiet, fatal, .*debug5"):
        log.rank("loud")


@pytest.mark.parametrize(
    ("options", "variables", "in_file", "on_stderr"),
    [
        ({}, {}, "error", "error"),
        ({"debug": True}, {}, "debug", "error"),
        ({"debug": True, "log": None}, {}, None, "debug"),
        ({"log_level": "info"}, {}, "info", "error"),
        ({"log_level": "info", "debug": True}, {}, "info", "error"),
        ({}, {"SCRUN_DEBUG": "info"}, "info", "info"),
        ({}, {"SCRUN_DEBUG": "info", "SCRUN_FILE_DEBUG": "debug"}, "debug", "info"),
        ({}, {"SCRUN_DEBUG": "info", "SCRUN_STDERR_DEBUG": "debug"}, "info", "debug"),
        ({"log_level": "error"}, {"SCRUN_FILE_DEBUG": "debug"}, "error", "error"),
    ],
)
def test_the_options_win_over_the_variables_of_the_page(
    options: dict[str, object],
    variables: dict[str, str],
    in_file: str | None,
    on_stderr: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("SCRUN_DEBUG", "SCRUN_FILE_DEBUG", "SCRUN_STDERR_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "log"
    given = {option.name: None if option.metavar else False for option in GLOBAL_OPTIONS}
    logger = operations.logger(Call("state", given | {"log": str(path)} | options, {}, ("c",)))
    for level in log.LEVELS[1:]:
        logger.say(level, level)
    if in_file:
        assert re.findall(r'msg="([^"]*)"', path.read_text())[-1] == in_file
    assert capfd.readouterr().err.split()[-1] == on_stderr
