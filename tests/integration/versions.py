"""Another version of scrun, whose containers could not end: what an upgrade under running containers is tried with."""

from __future__ import annotations

from pathlib import Path

ENDS = "trap 'echo made >/made; exit 6' TERM; echo up; while :; do sleep 0.1; done"
# What a container's end needs and its beginning doesn't: in the other version none of that can be imported.
LATE = (
    "lifecycle/worker/stage_out_hook.py",
    "lifecycle/worker/release.py",
    "staging/stage_out.py",
    "lua_hooks/hooks.py",
)


def make_another(package: Path) -> None:
    """Change a copy of the package to version 9.VERSION."""
    init = package / "__init__.py"
    _replace(init, init.read_text().replace('__version__ = "', '__version__ = "9.'))
    for name in LATE:
        assert (package / name).exists()
        _replace(package / name, "raise ImportError('this is another version')\n")


def _replace(path: Path, text: str) -> None:
    path.unlink()  # and so the time by which Python knows its compiled file
    path.write_text(text)
