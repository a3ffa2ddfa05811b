"""A container's variables that come by a task prolog, and not by the environment of the site's own programs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundle_samples import minimal
from hypothesis import given
from hypothesis import strategies as st

from scrun.bundle import withheld
from scrun.slurm import slurm_conf


def with_env(*entries: str) -> Any:
    config = minimal()
    config["process"]["env"] = [*entries]
    return config


def printed(entries: list[str], then: str = "", env: dict[str, str] | None = None) -> list[str]:
    """The lines that the prolog prints where that is the environment."""
    script = withheld.prolog(entries, then)
    done = subprocess.run(["/bin/sh", "-s"], input=script, env=env or {}, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()


def test_only_harmless_multi_line_variables_stay() -> None:
    config = with_env(
        "A=1", "LD_PRELOAD=/x", "TEXT=a\nb", "BASH_ENV=a\nb", "BASH_FUNC_ls%%=() {\n evil; }", "PATH=a\nb"
    )
    taken, lost = withheld.take(config)
    assert taken == ["A=1", "LD_PRELOAD=/x"]
    assert config["process"]["env"] == ["TEXT=a\nb"]
    assert lost == ["BASH_ENV", "BASH_FUNC_ls%%", "PATH"]
    assert withheld.take(minimal()) == ([], [])


@pytest.mark.parametrize("name", ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "HOME", "OPENSSL_CONF", "GIT_CONFIG_COUNT"])
def test_options_and_files_of_programs_are_not_harmless(name: str) -> None:
    config = with_env(f"{name}=a\nb", "CERTIFICATE=a\nb")
    assert withheld.take(config) == ([], [name])
    assert config["process"]["env"] == ["CERTIFICATE=a\nb"]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs", "Zl", "Zp", "Cc"]))))
def test_values_arrive_as_they_are(values: list[str]) -> None:
    entries = [f"V{number}={value}" for number, value in enumerate(values)]
    assert printed(entries) == [f"export {entry}" for entry in entries]


def test_what_slurm_or_the_site_has_set_stays() -> None:
    entries = ["CUDA_VISIBLE_DEVICES=all", "MINE=1", "PATH=/image", "with.dot=1"]
    there = {"CUDA_VISIBLE_DEVICES": "0", "PATH": "/bin", "with.dot": "2"}
    assert printed(entries, env=there) == ["export MINE=1", "export PATH=/image", "export with.dot=1"]


def test_callers_own_prolog_decides_last_with_its_status(tmp_path: Path) -> None:
    mine = tmp_path / "it's mine"
    mine.write_text("#!/bin/sh\necho export A=2\nexit 3\n")
    mine.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-s"], input=withheld.prolog(["A=1"], str(mine)), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, b"export A=1\nexport A=2\n")


@pytest.mark.parametrize(
    ("text", "some"),
    [("", False), ("TaskProlog=/x\n", True), ("taskepilog = /x\n", True), ("#TaskProlog=/x\nProlog=/x\n", False)],
)
def test_slurm_conf_tells_whether_there_are_such_programs(text: str, some: bool, tmp_path: Path) -> None:
    path = tmp_path / "slurm.conf"
    path.write_text(f"ClusterName=x\n{text}")
    assert slurm_conf.has_task_programs({"SLURM_CONF": str(path)}) == some
