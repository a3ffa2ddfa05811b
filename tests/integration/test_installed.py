"""What is installed beside the program: its manual page, and what bash, zsh and fish complete it by."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .engines import at_a_terminal
from .oci import Runtime
from .users import User

pytestmark = pytest.mark.slurm_only("has its own")

COMPLETIONS = Path("/usr/share/bash-completion/completions/scrun")
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_scrun_completion scrun
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_man_finds_our_page_first_and_without_complaint(runtime: Runtime) -> None:
    done = runtime.user.run("man", "--warnings", "scrun", env={"MANWIDTH": "80", "MANROFFOPT": "-ww"}).ok()
    assert done.stderr == ""
    assert "SCRUN_PARTITION" in done.stdout
    assert "run OCI containers as Slurm jobs" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [(["sta"], {"start", "state"}), (["run", "--det"], {"--detach"}), (["kill", "x", "US"], {"USR1", "USR2"})],
)
def test_bash_completes_commands_options_and_signals(runtime: Runtime, words: list[str], offered: set[str]) -> None:
    done = runtime.user.run("bash", "-c", COMPLETE, "bash", str(COMPLETIONS), "scrun", *words).ok()
    assert set(done.stdout.split()) == offered


def test_bash_completes_containers(container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    done = one.runtime.user.run("bash", "-c", COMPLETE, "bash", str(COMPLETIONS), "scrun", "kill", one.id[:9]).ok()
    assert one.id in done.stdout.split()


# zsh offers the rest of a word in a list below the prompt, and writes what is common to all into the line.
ZSH = "autoload -U compinit; compinit -u -D; PS1=\"go\"'> '\n"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("scrun sta", "state  -- Print a container"),
        ("scrun run --det", "scrun run --detach "),
        ("scrun kill x USR", "USR2"),
    ],
)
def test_zsh_completes_commands_options_and_signals(runtime: Runtime, line: str, seen: str) -> None:
    typed = {"ready> ": ZSH.encode(), "go> ": f"{line}\t".encode(), seen: b"\x15exit\n"}
    environment = {"PS1": "ready> ", "COLUMNS": "120", "TERM": "dumb"}
    status, screen = at_a_terminal(runtime.user, "zsh", "-f", "-i", typed=typed, env=environment)
    assert status == 0, screen


def test_zsh_completes_containers(container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    typed = {"ready> ": ZSH.encode(), "go> ": f"scrun kill {one.id[:9]}\t".encode(), one.id: b"\x15exit\n"}
    environment = {"PS1": "ready> ", "TERM": "dumb"}
    status, screen = at_a_terminal(one.runtime.user, "zsh", "-f", "-i", typed=typed, env=environment)
    assert status == 0, screen


@pytest.mark.parametrize(
    ("line", "offered"),
    [("scrun sta", {"start", "state"}), ("scrun run --det", {"--detach"}), ("scrun kill x US", {"USR1", "USR2"})],
)
def test_fish_completes_commands_options_and_signals(runtime: Runtime, line: str, offered: set[str]) -> None:
    done = runtime.user.run("fish", "-c", f"complete --do-complete '{line}'").ok()
    assert {found.partition("\t")[0] for found in done.stdout.splitlines()} == offered


def test_fish_completes_containers(container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    done = one.runtime.user.run("fish", "-c", f"complete --do-complete 'scrun kill {one.id[:9]}'").ok()
    assert one.id in done.stdout.split()


def test_features_tells_slurms_version(runtime: Runtime) -> None:
    version = subprocess.run(["srun", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    document = json.loads(runtime.run("features").ok().stdout)
    assert document["annotations"]["org.scrun.slurm.version"] == version


def test_root_installs_no_program_a_user_could_change(root: User, alice: User, directory: Path) -> None:
    python = directory / "python"
    python.symlink_to("/usr/bin/python3")
    os.chown(python, alice.uid, alice.gid, follow_symlinks=False)
    directory.chmod(0o755)
    refused = root.run("/usr/bin/scrun", "install", "--prefix", "/opt/others", "--python", str(python))
    assert refused.status == 1
    assert "others than root can change" in refused.stderr
    assert not Path("/opt/others").exists()


def test_root_removes_no_file_listed_by_a_user(root: User, alice: User, directory: Path) -> None:
    victim = Path("/etc/scrun-test-victim")
    victim.write_text("root's")
    own = directory / "lib/scrun"
    alice.run("mkdir", "-p", str(own)).ok()
    listed = f"sha256sum {victim} >{own}/written.sha256"
    alice.run("sh", "-c", listed).ok()
    refused = root.run("/usr/bin/scrun", "uninstall", "--prefix", str(directory))
    assert (refused.status, refused.stdout) == (1, "")
    assert f"is user {alice.uid}'s: uninstall it as that user" in refused.stderr
    assert victim.exists()
    victim.unlink()
