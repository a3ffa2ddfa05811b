"""The shell scripts of node_scripts, as files and put together as nodes get them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import shellcheck

from scrun import marks, node_scripts
from scrun.doctor import node_script
from scrun.lifecycle.operations import events, ps
from scrun.node_scripts import read_script
from scrun.staging import copy_up, node_directory, own_directory, place, probe, root_mounts, tun

FILES = sorted(Path(node_scripts.__file__).parent.glob("*.sh"))
SCRIPTS = {
    "archive": copy_up._ARCHIVE,
    "doctor": node_script.SCRIPT,
    "events": events._STAT,
    "keep": node_directory._KEEP,
    "network": tun.SCRIPT,
    "place": place.SCRIPT,
    "probe": probe._SCRIPT,
    "ps": ps._TABLE,
    "remove": node_directory._REMOVE,
    "renew": node_directory._RENEW,
    "send": node_directory.SEND,
    "unpack": copy_up._UNPACK,
}
# Assigned for another part (SC2034), the shell's own words split on purpose (SC2046), `name=` before a blank (SC1007),
# and names of our own from ls, because only ls sorts by time (SC2045).
ALLOWED = "SC1007,SC2034,SC2045,SC2046"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_a_shell_can_parse_each_file(shell: str, path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_can_parse_what_a_node_gets(name: str) -> None:
    done = subprocess.run(["sh", "-n"], input=SCRIPTS[name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_no_complaint(name: str) -> None:
    assert shellcheck.complaints("--shell=bash", f"--exclude={ALLOWED}", "-", text=SCRIPTS[name]) == ""


def test_every_file_is_part_of_a_script() -> None:
    sent = "".join(SCRIPTS.values())
    parts = {path.name: read_script(path.stem).replace("@LACKS@", node_directory.LACKS) for path in FILES}
    parts["doctor.sh"] = parts["doctor.sh"].replace("@LARGEST@", str(node_script.LARGEST))
    assert [name for name, text in parts.items() if text not in sent] == []
    assert {own_directory.GO_TO, root_mounts.TRY, node_directory.LACKS} <= {*parts.values()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_comment_above_a_script_stays_here(path: Path) -> None:
    text = read_script(path.stem)
    assert path.read_text().startswith("# ")
    assert text.startswith("\n")
    assert not text.startswith("\n#")
    assert path.read_text().endswith(text)


@pytest.mark.parametrize("name", ["keep", "place", "remove", "renew", "send"])
def test_a_container_directorys_script_begins_with_the_mark(name: str) -> None:
    assert SCRIPTS[name].removeprefix(read_script("arguments")).startswith(f"\nmark={marks.MARK}\n")


def test_no_placeholder_is_left() -> None:
    assert [name for name, text in SCRIPTS.items() if {"@LACKS@", "@LARGEST@"} & {*re.findall("@[A-Z]+@", text)}] == []


@pytest.mark.skipif(not shutil.which("ps"), reason="ps is not installed")
def test_rows_of_ps_are_whole_whatever_slurmds_terminal() -> None:
    words = ["sh", "-c", "read line", "w" * 200]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        command = ["sh", "-c", SCRIPTS["ps"], "sh", str(process.pid), "-f", "-p", str(process.pid)]
        done = subprocess.run(command, env={**os.environ, "COLUMNS": "40"}, capture_output=True, text=True, check=True)
    assert "w" * 200 in done.stdout
