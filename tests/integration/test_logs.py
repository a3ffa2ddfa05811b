"""What scrun says, and where: --log, --log-format, --debug, standard error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Runtime

RFC3339 = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"

JSON = ("--log-format", "json")


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete"])
def test_error_is_one_json_object_in_the_log(runtime: Runtime, unique_id: str, directory: Path, verb: str) -> None:
    log = directory / "log.json"
    done = runtime.run("--log", str(log), *JSON, verb, unique_id)
    assert done.status == 1
    (entry,) = entries(log)
    assert set(entry) == {"level", "msg", "time"}
    assert entry["level"] == "error"
    assert re.fullmatch(RFC3339, entry["time"])
    if runtime.is_scrun:
        assert done.stderr == f"scrun: {entry['msg']}\n"


def test_error_is_one_line_of_a_text_log(runtime: Runtime, unique_id: str, directory: Path) -> None:
    log = directory / "log"
    runtime.run("--log", str(log), "--log-format", "text", "state", unique_id)
    (line,) = log.read_text().splitlines()
    if runtime.is_scrun:
        match = re.fullmatch(rf'time="{RFC3339}" level=(error|fatal) msg="container does not exist: .*"', line)
        assert match


@pytest.mark.slurm_only("has no text format without a colour or a journal")
def test_the_logs_format_is_text_unless_named(runtime: Runtime, unique_id: str, directory: Path) -> None:
    runtime.run("--log", str(directory / "log"), "state", unique_id)
    assert (directory / "log").read_text().startswith("time=")


def test_a_log_is_appended_to(runtime: Runtime, unique_id: str, directory: Path) -> None:
    log = directory / "log.json"
    for _ in range(2):
        runtime.run("--log", str(log), *JSON, "state", unique_id)
    assert len(entries(log)) == 2


def test_success_leaves_the_log_and_standard_error_empty(container: MakeContainer, directory: Path) -> None:
    log = directory / "log.json"
    one = container("true")
    options = ("--log", str(log), *JSON)
    one.created(global_options=options)
    for verb in ("state", "start", "delete"):
        if verb == "delete":
            one.ended()
        assert one.runtime.run(*options, verb, one.id).ok().stderr == ""
    assert not log.exists() or log.read_text() == ""
    assert one.errors == b""


@pytest.mark.slurm_only("its debug lines are its own")
def test_debug_says_more_and_every_line_parses(container: MakeContainer, directory: Path) -> None:
    log = directory / "log.json"
    one = container("true")
    options = ("--debug", "--log", str(log), *JSON)
    one.created("--no-pivot", global_options=options)
    one.runtime.run(*options, "start", one.id).ok()
    one.runtime.run(*options, "start", one.id)
    found = entries(log)
    assert {"debug", "error"} <= {entry["level"] for entry in found}
    assert all(set(entry) == {"level", "msg", "time"} for entry in found)
    assert any("--no-pivot" in entry["msg"] for entry in found)
    assert found[-1]["level"] == "error"  # the last one, which docker shows


@pytest.mark.slurm_only("its levels are others")
@pytest.mark.parametrize("level", ["quiet", "error", "info", "debug", "DEBUG", "debug5"])
def test_the_level_of_the_log_is_set(container: MakeContainer, directory: Path, level: str) -> None:
    log = directory / "log"
    one = container("true").created("--no-pivot", global_options=["--log", str(log), "--log-level", level])
    assert ("level=debug" in log.read_text()) == level.lower().startswith("debug")
    one.runtime.run("--log", str(log), "--log-level", level, "create", one.id)
    assert ("level=fatal" in log.read_text() or "level=error" in log.read_text()) == (level != "quiet")


@pytest.mark.slurm_only("takes what it doesn't know for text")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log-format", "xml"], "log format 'xml' is unknown"),
        (["--log-level", "loud"], "log level 'loud' is unknown"),
        (["--log", "/nosuch/log"], "can't write the log /nosuch/log"),
        (["--log", "/"], "can't write the log /"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    runtime: Runtime, unique_id: str, options: list[str], words: str
) -> None:
    done = runtime.run(*options, "state", unique_id)
    assert done.status == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slurm_only("its messages hold no path")
def test_message_with_quotes_and_controls_is_valid_json(runtime: Runtime, directory: Path, unique_id: str) -> None:
    log = directory / "log.json"
    bundle = '/no"such\\\n\tü\x1b'
    runtime.run("--log", str(log), *JSON, "create", "--bundle", bundle, unique_id)
    (entry,) = entries(log)
    assert bundle in entry["msg"]


def entries(log: Path) -> list[dict[str, str]]:
    """The stream of objects in a JSON log, read as docker reads it: not a line each, but one after another."""
    text, found, decoder = log.read_text().strip(), [], json.JSONDecoder()
    while text:
        entry, end = decoder.raw_decode(text)
        found.append(entry)
        text = text[end:].strip()
    return found
