"""scrun(1): nothing that the program has is missing in it, and troff has nothing to complain of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scrun import errors, manual
from scrun.grammar import COMMANDS, FOR_PEOPLE, GLOBAL_OPTIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
PAGE = manual.page()


def plain(text: str) -> str:
    """Roff without its escapes."""
    return re.sub(r"\\f.", "", text).replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def section(title: str) -> str:
    """A part of the page, up to the next heading."""
    return plain(PAGE.partition(f"\n{title}\n")[2].partition("\n.S")[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_with_options_and_arguments(name: str) -> None:
    text = section(f".SS {name}")
    assert COMMANDS[name].help in text
    for option in COMMANDS[name].options:
        assert all(spelling in text.replace(";", " ").replace(",", " ").split() for spelling in option.spellings)
        assert option.help in text
    assert all(word in text for word in COMMANDS[name].arguments)


def test_every_global_option_is_there() -> None:
    text = section(".SH GLOBAL OPTIONS")
    for option in (*GLOBAL_OPTIONS, *FOR_PEOPLE):
        assert all(spelling in text.replace(";", " ").replace(",", " ").split() for spelling in option.spellings)
        assert option.help in text


def test_every_variable_that_the_documentation_names_is_there() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if "not read yet" not in line]
    named = set(re.findall(r"`(SCRUN_[A-Z0-9_]+)`", "\n".join(lines)))
    terms = set(re.findall(r"^SCRUN_[A-Z0-9_]+$", plain(PAGE), re.MULTILINE))
    assert named <= terms
    assert set(manual.job_variables()) <= terms


def test_every_kind_of_error_is_there() -> None:
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and kind is not errors.ScrunError]
    assert len(kinds) > 10
    text = section(".SH DIAGNOSTICS")
    assert all(name in text.split("\n") for name in kinds)


def test_only_real_requests_look_like_requests() -> None:
    requests = {line.split()[0] for line in PAGE.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi"}


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_no_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-rF0"], input=PAGE.encode(), capture_output=True, check=True
    )
    assert done.stderr == b""
    assert b"scrun - run OCI containers as Slurm jobs" in re.sub(rb"\x1b\[[0-9;]*m|.\x08", b"", done.stdout)


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_has_no_warning() -> None:
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=PAGE.encode(), capture_output=True, check=False)
    assert done.stdout == b""
