"""``python -m scrun.launcher PATH``: write the program that docker and podman call.

pip's own script starts Python with ``site`` and imports more than a runtime that is called ten times a second should.
This one starts it isolated (-I) and without site (-S), which halves the start-up, and names the directories that it was
installed in. Write it again after moving the installation or updating Python.
"""

from __future__ import annotations

import os
import sys

PROGRAM = """#!{python} -IS
# Written by python -m scrun.launcher; write it again when this Python or this installation moves.
import gc
import sys

gc.disable()  # most calls end before a collection would pay
sys.path[1:1] = {directories!r}
from scrun.__main__ import main

main()
"""


def program() -> str:
    """The text of the launcher for this interpreter and this installation."""
    import scrun

    homes = [os.path.dirname(os.path.dirname(os.path.abspath(scrun.__file__)))]
    homes += [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and path not in homes]
    return PROGRAM.format(python=sys.executable, directories=homes)


def write(path: str) -> None:
    """Write the launcher to ``path``, executable for everybody; replaced as a whole.

    Raises:
        OSError: it can't be written.
    """
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(program())
    os.chmod(fresh, 0o755)  # noqa: S103  every user of the login node runs it
    os.rename(fresh, path)


def main() -> None:
    """The command line: one argument, the path to write."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scrun.launcher PATH")
    try:
        write(sys.argv[1])
    except OSError as error:
        sys.exit(f"scrun: can't write the launcher {sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
