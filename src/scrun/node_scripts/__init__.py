"""The shell scripts that run on a node, each in a file of its own, which sh(1) and shellcheck can read.

Most of the files are parts: a script that a node gets is put together from several of them, with a random mark
(:mod:`scrun.marks`), by the module that starts it. A word like ``@NAME@`` is replaced by that module.
"""

from __future__ import annotations

import os


def read_script(name: str) -> str:
    """Read NAME.sh without the comment at its beginning, so that it can stand after another part.

    Raises:
        OSError: scrun isn't installed completely.
    """
    with open(os.path.join(os.path.dirname(__file__), f"{name}.sh"), encoding="utf-8") as file:
        lines = file.read().split("\n")
    while lines[0].startswith("#"):
        del lines[0]
    return "\n" + "\n".join(lines)
