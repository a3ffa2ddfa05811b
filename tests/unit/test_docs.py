"""The documentation's snippets: Lua that loads and runs, oci.conf that Slurm takes, commands that are understood.

That links lead somewhere is what `make site` checks.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from scrun import cli
from scrun.grammar import Call
from scrun.lua_hooks.check import problems_of
from scrun.slurm import node_runtime, oci_conf

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What the fragments of hooks take for given, and what their surroundings are.
HOOK = """
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    local place, count, status, output, s = spool_dir, 1, 0, "", "x"
    %s
end
function slurm_scrun_stage_out() return slurm.SUCCESS end
"""


def snippets(language: str) -> list[object]:
    """Each of that language, named by its page and line."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(rf"^([ ]*)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            found.append(pytest.param(block[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("snippet", snippets("lua"))
def test_lua_loads_and_runs_without_a_problem(snippet: str, tmp_path: Path) -> None:
    whole = "function slurm_scrun_stage_in" in snippet
    text = snippet if whole else HOOK % f"do {snippet} end return slurm.SUCCESS"
    path = tmp_path / "snippet.lua"
    path.write_text(text)
    path.chmod(0o644)
    assert problems_of(str(path)) == []


@pytest.mark.parametrize("snippet", snippets("conf"))
def test_slurm_and_scrun_accept_an_oci_conf(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "oci.conf"
    path.write_text(snippet)
    found = node_runtime.derive(oci_conf.read_file(str(path)))
    assert found["command"]
    assert "%j" in found["name"]


def commands(snippet: str) -> list[str]:
    """What is typed: the lines that begin with a prompt."""
    return [
        line.strip()[2:] for line in snippet.replace("\\\n", "").splitlines() if line.strip().startswith(("$ ", "# "))
    ]


@pytest.mark.parametrize("snippet", snippets("console"))
def test_the_shell_and_scrun_accept_a_command(snippet: str) -> None:
    calls: list[Call] = []

    def perform(call: Call) -> int:
        calls.append(call)
        return 0

    typed = commands(snippet)
    assert typed
    for command in typed:
        subprocess.run(["sh", "-n", "-c", command], check=True)
        words = shlex.split(command, comments=True)
        if words[0] == "scrun":
            calls.clear()
            assert cli.main(words[1:], perform) == 0
            assert calls


def test_there_are_snippets_of_each_kind() -> None:
    for language in ("lua", "conf", "console"):
        assert len(snippets(language)) > 1


def test_every_key_of_oci_conf_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert [key for key in oci_conf.KEYS if f"`{key}`" not in page] == []


def test_the_glossary_defines_the_architectures_own_words() -> None:
    terms = re.findall(r"^- \*\*(.*?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    defined = {word for term in terms for word in term.split(", ")}
    own = set(re.findall(r"(?<![*\w])\*(\w[\w -]*)\*(?!\*)", (ROOT / "docs/architecture.md").read_text()))
    assert "anchor" in own
    assert own - {"italics"} - defined == set()
