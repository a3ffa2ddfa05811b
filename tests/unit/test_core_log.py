"""Messages: the formats that docker and podman parse, the levels of scrun(1), and a log that can't be written."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scrun import dispatch, log
from scrun.errors import ScrunError
from scrun.grammar import GLOBAL_OPTIONS, Call


def forget_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCRUN_DEBUG", "SCRUN_FILE_DEBUG", "SCRUN_STDERR_DEBUG", "SCRUN_SYSLOG_DEBUG"):
        monkeypatch.delenv(name, raising=False)


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
def test_timestamp_is_rfc_3339_utc_with_nanoseconds(nanoseconds: int, text: str) -> None:
    assert log.timestamp(nanoseconds) == text


def test_the_time_is_now_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time_ns()
    assert log.timestamp(before) <= log.timestamp() <= log.timestamp(time.time_ns())


MESSAGES = ["plain", 'with "quotes" and \\', "two\nlines", "unicode ☃", "not text \udcff", ""]


@pytest.mark.parametrize("message", MESSAGES)
def test_json_log_has_one_object_per_line(message: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.Log(str(path), json=True).say("error", message)
    (line,) = path.read_bytes().splitlines()
    entry = json.loads(line)
    assert set(entry) == {"level", "msg", "time"}
    assert (entry["level"], entry["msg"]) == ("error", message)
    assert RFC_3339.fullmatch(entry["time"])


@pytest.mark.parametrize("message", MESSAGES)
def test_text_log_has_one_line_per_message(message: str, tmp_path: Path) -> None:
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
def test_json_log_uses_dockers_levels(ours: str, logrus: str) -> None:
    assert json.loads(log.json_line(ours, "m"))["level"] == logrus


@pytest.mark.parametrize("threshold", log.LEVELS)
def test_message_is_written_if_its_level_suffices(
    threshold: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    rank = log.rank(threshold)
    logger = log.Log(str(path), levels=log.Levels(file=rank, stderr=rank))
    for level in log.LEVELS[1:]:
        logger.say(level, f"at {level}")
    expected = [f"at {level}" for level in log.LEVELS[1 : rank + 1]]
    assert re.findall(r'msg="([^"]*)"', path.read_text()) == expected
    assert capfd.readouterr().err.splitlines() == [f"scrun: {message}" for message in expected]


def test_fatal_message_omits_a_name_the_caller_adds(capfd: pytest.CaptureFixture[str]) -> None:
    logger = log.Log(is_quoted=True)
    logger.say("error", "what goes into the container's own output")
    logger.say("fatal", "why there is none")
    assert capfd.readouterr().err == "scrun: what goes into the container's own output\nwhy there is none\n"


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log.Log(str(path)).say("error", "after")
    assert path.read_text().startswith("before\ntime=")


def test_unopenable_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ScrunError, match=f"can't write the log {tmp_path}: Is a directory"):
        log.Log(str(tmp_path))


def test_a_full_disk_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.Log("/dev/full").say("error", "lost in the file")
    assert capfd.readouterr().err == "scrun: lost in the file\n"


@pytest.mark.parametrize("name", ["debug", "DEBUG", "Debug5", "quiet"])
def test_level_is_known_in_any_letter_case(name: str) -> None:
    assert log.LEVELS[log.rank(name)] == name.lower()


def test_unknown_level_error_lists_the_known_ones() -> None:
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
def test_options_win_over_documented_variables(
    options: dict[str, object],
    variables: dict[str, str],
    in_file: str | None,
    on_stderr: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    forget_variables(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "log"
    given = {option.name: None if option.metavar else False for option in GLOBAL_OPTIONS}
    logger = dispatch.logger(Call("state", given | {"log": str(path)} | options, {}, ("c",)))
    for level in log.LEVELS[1:]:
        logger.say(level, level)
    if in_file:
        assert re.findall(r'msg="([^"]*)"', path.read_text())[-1] == in_file
    assert capfd.readouterr().err.split()[-1] == on_stderr


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A syslog of the test's own."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "log.socket"))
    channel.setblocking(False)
    monkeypatch.setattr(log, "SYSLOG", str(tmp_path / "log.socket"))
    yield channel
    channel.close()


def received(channel: socket.socket) -> list[str]:
    """What has arrived."""
    lines = []
    while True:
        try:
            lines.append(channel.recv(65536).decode())
        except BlockingIOError:
            return lines


@pytest.mark.parametrize(
    ("level", "priority"), [("fatal", 10), ("error", 11), ("info", 14), ("verbose", 14), ("debug", 15), ("debug5", 15)]
)
def test_syslog_datagrams_have_the_levels_priority(level: str, priority: int, syslog: socket.socket) -> None:
    log.Log(levels=log.Levels(stderr=0, syslog=log.rank("debug5"))).say(level, "a message")
    (line,) = received(syslog)
    stamp = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123]\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"<{priority}>{stamp} scrun\[{os.getpid()}\]: a message", line)


def test_syslog_gets_each_line_with_its_facility(syslog: socket.socket) -> None:
    log.to_syslog("error", "one\ntwo \udcff", log.DAEMON)
    lines = received(syslog)
    assert [line.partition("]: ")[2] for line in lines] == ["one", "two \\udcff"]
    assert all(line.startswith("<27>") for line in lines)


def test_syslog_gets_nothing_unless_somebody_says_so(syslog: socket.socket) -> None:
    log.Log().say("fatal", "m")
    assert received(syslog) == []


@pytest.mark.parametrize(
    ("variables", "most"),
    [
        ({}, None),
        ({"SCRUN_DEBUG": "info"}, "info"),
        ({"SCRUN_DEBUG": "info", "SCRUN_SYSLOG_DEBUG": "debug3"}, "debug3"),
        ({"SCRUN_SYSLOG_DEBUG": "quiet", "SCRUN_DEBUG": "info"}, None),
    ],
)
def test_documented_variables_set_the_level_of_syslog(
    variables: dict[str, str], most: str | None, syslog: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_variables(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = {option.name: None if option.metavar else False for option in GLOBAL_OPTIONS}
    logger = dispatch.logger(Call("state", given, {}, ("c",)))
    for level in log.LEVELS[1:]:
        logger.say(level, level)
    lines = received(syslog)
    assert (lines[-1].split()[-1] if lines else None) == most


def test_a_missing_or_full_syslog_is_no_error(syslog: socket.socket, tmp_path: Path) -> None:
    for _ in range(10000):  # it would block: nobody reads
        log.to_syslog("error", "m")
    syslog.close()
    log.to_syslog("error", "m")
    (tmp_path / "log.socket").unlink()
    log.to_syslog("error", "m")


def test_what_a_site_sets_counts_where_nobody_says() -> None:
    levels = log.Levels(file=log.rank("info"))
    levels.settle(file="debug", stderr="verbose", syslog="fatal")
    assert (levels.file, levels.stderr, levels.syslog) == (log.rank("info"), log.rank("verbose"), log.rank("fatal"))


def test_a_warning_goes_where_errors_go(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    log.Log(str(path), json=True).warn("it has no effect")
    assert json.loads(path.read_text())["level"] == "warning"
    assert capfd.readouterr().err == "scrun: warning: it has no effect\n"
    quiet = log.Log(levels=log.Levels(stderr=log.rank("fatal")))
    quiet.warn("it has no effect")
    assert capfd.readouterr().err == ""
