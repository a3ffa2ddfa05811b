"""The checkout's shell scripts. Those that nodes get are in test_node_scripts.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import shellcheck

CHECKOUT = Path(__file__).parents[2]
NODE_SCRIPTS = CHECKOUT / "src/scrun/node_scripts"


def scripts() -> list[Path]:
    """The files that git knows and a shell reads: by their first line, or by their name."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    files = [CHECKOUT / name for name in done.stdout.split("\0") if name]
    return [path for path in files if path.is_file() and path.parent != NODE_SCRIPTS and is_shell_script(path)]


def is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(80)
    return path.suffix == ".sh" or (first.startswith(b"#!") and first.rstrip().endswith(b"sh"))


def test_shellcheck_has_no_complaint() -> None:
    found = scripts()
    if not found:
        pytest.skip("this is no git checkout")
    assert {"devcluster", "run", "postrm", "epilog"} <= {path.name for path in found}
    assert shellcheck.complaints(*(str(path.relative_to(CHECKOUT)) for path in found), directory=CHECKOUT) == ""
