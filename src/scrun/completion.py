"""Words for a shell's completion that click doesn't know: container ids, signals, levels, formats, paths."""

from __future__ import annotations

import os

from scrun import identity, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE, DIRECTORY = "file", "dir"  # the shell completes these itself
_PATHS = {"DIR": DIRECTORY, "FILE": FILE, "SOCKET": FILE, "PATH": FILE}
_WORDS = {"LEVEL": log.LEVELS, "FORMAT": ("json", "table", "text")}


def of_option(metavar: str) -> str | tuple[str, ...]:
    """The completion of an option's value: FILE, DIRECTORY, or the possible words."""
    return _PATHS.get(metavar) or tuple(_WORDS.get(metavar, ()))


def of_argument(name: str, global_options: Mapping[str, Any]) -> str | tuple[str, ...]:
    """The completion of a command's argument, by the grammar's name; the result is as for :func:`of_option`."""
    if name == "container-id":
        return container_ids(global_options.get("root") or identity.default_root())
    if name == "signal":
        import signal

        return tuple(sorted(number.name.removeprefix("SIG") for number in signal.Signals))
    if name == "shell":
        return SHELLS
    return FILE if name == "file" else ()


def container_ids(root: str) -> tuple[str, ...]:
    """The ids of the containers in a root directory."""
    try:
        return tuple(sorted(name for name in os.listdir(root) if identity.is_valid_id(name)))
    except OSError:
        return ()


SHELLS = ("bash", "fish", "zsh")
