"""Which pyslurm there is, told without loading it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from scrun.slurm import pyslurm_parts


@pytest.mark.parametrize(
    ("content", "version"), [('# 1.2\n__version__ = "26.5.1"\n', "26.5.1"), ("x = 1\n", ""), (None, "")]
)
def test_a_pyslurm_without_metadata_tells_its_version(
    content: str | None, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pyslurm"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('it was loaded')")
    if content is not None:
        (package / "version.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert pyslurm_parts.pyslurm_version() == version


def test_without_a_pyslurm_there_is_no_version() -> None:
    assert pyslurm_parts.pyslurm_version() == ""
