"""What people see of the command line: help, versions, and one line for what can't be understood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import scrun
from scrun import cli
from scrun.grammar import COMMANDS, GLOBAL_OPTIONS, NOT_SUPPORTED, Call

Result = subprocess.CompletedProcess[str]


def nothing(_call: Call) -> int:
    return 0


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Result]:
    """Run the program as a person would, with a root directory of its own."""

    def run(*words: str, **variables: str) -> Result:
        environment = {"PATH": os.defpath, "PYTHONPATH": str(Path(scrun.__file__).parents[1]), **variables}
        return subprocess.run(
            [sys.executable, "-m", "scrun", "--root", str(tmp_path / "root"), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nosuch", "no such command 'nosuch'"),
        ("--nosuch state c", "no such option '--nosuch'"),
        ("--root", "'--root' requires an argument"),
        ("state", "missing argument 'CONTAINER-ID'"),
        ("state a b", "unexpected extra argument"),
        ("state --force a", "no such option '--force'"),
        ("create", "missing argument 'CONTAINER-ID'"),
        ("create --bundle", "'--bundle' requires an argument"),
        ("create --no-pivot=1 c", "'--no-pivot' does not take a value"),
        ("kill a b c", "unexpected extra argument"),
        ("kill --bogus a", "no such option '--bogus'"),
        ("features now", "unexpected extra argument"),
    ],
)
def test_a_bad_command_line_is_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split(), nothing) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("scrun: ")
    assert said in err
    assert err[7].islower()
    assert err.count("\n") == 1
    assert "--help" in err
    assert "Traceback" not in err


def test_no_command_shows_help_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([], nothing) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: scrun")
    assert "see scrun" not in err


@pytest.mark.parametrize("spelling", ["--version", "-V"])
def test_version_has_the_lines_that_docker_reads(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([spelling], nothing) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"scrun version {scrun.__version__}", f"commit: {scrun.__version__}", f"spec: {scrun.OCI_VERSION}"]


def test_version_command_also_tells_how_slurm_is_reached(program: Callable[..., Result]) -> None:
    *same, how = program("version").stdout.splitlines(keepends=True)
    assert "".join(same) == program("--version").stdout
    assert how == "slurm: unknown (no srun that says it), scrun was built without its part of libslurm\n"


# podman asks `checkpoint --help`, and takes success for support.
@pytest.mark.parametrize(
    "words", [(), ("--help",), ("-h", "box"), ("--image-path", "/x", "-no-subreaper", "box"), ("--",)]
)
@pytest.mark.parametrize("command", NOT_SUPPORTED)
def test_unsupported_command_is_refused_whatever_words_follow(
    command: str, words: tuple[str, ...], program: Callable[..., Result], tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    done = program("--log", str(log), "--log-format", "json", command, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"scrun: {command} is not supported: ")
    assert done.stderr.count("\n") == 1
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert f"{command} is not supported" in entry["msg"]


def test_help_lists_what_is_not_supported_as_that(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"], nothing)
    out, _ = capsys.readouterr()
    assert "Not supported: checkpoint, restore." in out
    assert not [name for name in NOT_SUPPORTED if f"  {name} " in out]


def test_of_options_without_effect_help_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--help"], "without effect:"),
        (["create", "--help"], "without effect:"),
        (["exec", "--help"], "no effect, with a warning,"),
    ):
        cli.main(words, nothing)
        assert capsys.readouterr().out.count(said) == 1
    cli.main(["update", "--help"], nothing)
    assert capsys.readouterr().out.lower().count("refused") == 1


def test_typo_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lst"], nothing) == 1
    assert capsys.readouterr().err == "scrun: no such command 'lst': did you mean 'list'? see scrun --help\n"


@pytest.mark.parametrize("spelling", ["--help", "-h", "-?", "--usage"])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_command_has_help(command: str | None, spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command.split(), spelling] if command else [spelling], nothing) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: scrun")
    named = COMMANDS[command].options if command else GLOBAL_OPTIONS
    assert not [option.name for option in named if option.spellings[0] not in out]
    if not command:
        assert not [name for name in COMMANDS if f"  {name.split()[0]} " not in out]


@pytest.mark.parametrize(
    ("flags", "level"), [(["-v"], "info"), (["-v", "-v"], "verbose"), (["-vvv"], "debug"), (["-v"] * 12, "debug5")]
)
def test_each_v_says_more_on_standard_error(flags: list[str], level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRUN_STDERR_DEBUG", "quiet")
    assert cli.main([*flags, "state", "c"], nothing) == 0
    assert os.environ["SCRUN_STDERR_DEBUG"] == level


def test_exit_status_comes_from_performing_the_call() -> None:
    assert cli.main(["state", "c"], lambda call: 7 if call.arguments == ("c",) else 0) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("state", "nosuch"), "does not exist"),
        (("start", "nosuch"), "does not exist"),
        (("kill", "nosuch", "9"), "does not exist"),
        (("delete", "nosuch"), "does not exist"),
        (("state", "../../evil"), "invalid container id '../../evil'"),
        (("create", ".hidden"), "invalid container id '.hidden'"),
        (("kill", "nosuch", "NOSUCH"), "unknown signal 'NOSUCH'"),
        (("completion", "tcsh"), "shell 'tcsh' is unknown: use one of bash, fish, zsh"),
        (("--log-format", "xml", "state", "c"), "log format 'xml' is unknown"),
        (("--log-level", "loud", "state", "c"), "log level 'loud' is unknown"),
        (("ps", "nosuch"), "does not exist"),
        (("pause", "nosuch"), "does not exist"),
        (("resume", "nosuch"), "does not exist"),
        (("events", "nosuch"), "does not exist"),
        (("events", "--interval", "never", "nosuch"), "interval 'never' is not a time"),
        (("update", "nosuch"), "does not exist"),
        (("ps", "-f", "xml", "nosuch"), "format 'xml' is unknown: use table or json"),
        (("list", "-f", "xml"), "format 'xml' is unknown: use table or json"),
        (("--log", "/nosuch/log", "state", "c"), "can't write the log /nosuch/log"),
        (("--debug", "state", "nosuch"), "does not exist"),
        (("-v", "state", "nosuch"), "does not exist"),
    ],
)
def test_an_error_is_one_line_and_status_1(program: Callable[..., Result], words: tuple[str, ...], said: str) -> None:
    done = program(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scrun: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_empty_list_is_the_header_only(program: Callable[..., Result]) -> None:
    assert program("list").stdout.split() == [
        *("ID", "STATUS", "JOB", "NODES", "(REASON)", "PARTITION", "ELAPSED", "IMAGE", "OR", "COMMAND")
    ]
    assert program("list", "-q").stdout == ""
    assert program("list", "-f", "json").stdout == "[]\n"


def test_forced_delete_of_unknown_container_is_no_error(program: Callable[..., Result]) -> None:
    done = program("delete", "--force", "nosuch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_log_holds_the_error_as_one_object(program: Callable[..., Result], tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    done = program("--log", str(log), "--log-format", "json", "state", "nosuch")
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert entry["level"] == "error"
    assert f"scrun: {entry['msg']}\n" == done.stderr


def test_a_reader_that_has_gone_gets_no_traceback(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "scrun", "features"],
        env={"PYTHONPATH": str(Path(scrun.__file__).parents[1])},
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")
