"""What a shell offers when a person types scrun and a tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import scrun
from scrun import cli
from scrun.grammar import COMMANDS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with two containers, and something that is none."""
    for name in ("alpha", "beta", ".hidden"):
        (tmp_path / name).mkdir()
    return tmp_path


def offered(line: str) -> list[str]:
    """What scrun answers bash for the last word of the line, ``kind,value`` each."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "scrun"],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(scrun.__file__).parents[1]),
            "_SCRUN_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands() -> None:
    assert {f"plain,{name.split()[0]}" for name in COMMANDS} == set(offered("scrun "))
    assert offered("scrun sta") == ["plain,start", "plain,state"]


def test_options() -> None:
    assert offered("scrun run --de") == ["plain,--detach"]
    assert "plain,--log-format" in offered("scrun --")


@pytest.mark.slow
@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if "container-id" in command.arguments])
def test_containers_for_every_command_that_takes_one(command: str, root: Path) -> None:
    assert offered(f"scrun --root {root} {command} ") == ["plain,alpha", "plain,beta"]
    assert offered(f"scrun --root {root} {command} b") == ["plain,beta"]


def test_no_containers_where_there_are_none() -> None:
    assert offered("scrun --root /nosuch delete ") == []


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("scrun kill alpha US", ["plain,USR1", "plain,USR2"]),
        ("scrun --log-level deb", ["plain,debug", *(f"plain,debug{n}" for n in (2, 3, 4, 5))]),
        ("scrun list --format t", ["plain,table", "plain,text"]),
        ("scrun run --bundle /x", ["dir,/x"]),
        ("scrun create --pid-file /x", ["file,/x"]),
        ("scrun completion z", ["plain,zsh"]),
    ],
)
def test_values(line: str, kinds: list[str]) -> None:
    assert offered(line) == kinds


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_uses_the_shells_own_way(shell: str) -> None:
    assert f"_SCRUN_COMPLETE={shell}_complete" in cli.completion_script(shell)
