"""PREFIX/bin/scrun, the program that docker and podman call.

pip's own script starts Python with ``site`` and imports more than a runtime that is called ten times a second should.
This one starts it isolated (-I) and without site (-S), which halves the start-up, and names the directories that scrun
and its libraries are in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from scrun.errors import InstallationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM = """#!{python} -IS
# Written by scrun install: run it again when this Python moves.
import _signal

blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())  # see scrun.interrupts
import gc
import sys

gc.disable()  # most calls end before a collection would pay
sys.path[1:1] = {directories!r}
try:
    from scrun.__main__ import main
except ImportError as missing:
    sys.exit(f"scrun: {{missing}}: this scrun was removed, or parts of it: install it again, or remove " + {path!r})

main(blocked)
"""
_LONGEST = 120  # bytes; before Linux 5.1 the line had 127
# In pip's script too: what it is in is scrun's program, whoever wrote it.
MARK = b"from scrun.__main__ import main"


def program(path: str, python: str, homes: Iterable[str]) -> str:
    """The text of the launcher.

    Args:
        path: where it will be.
        python: the interpreter that it starts.
        homes: the directories to look for scrun in, before those of that interpreter's packages.
    """
    directories = [*homes]
    directories += [one for one in packages(python) if one not in directories]
    return PROGRAM.format(path=path, python=python, directories=directories)


def interpreter(python: str) -> str:
    """The absolute path of an interpreter, fit for the launcher's first line, which the kernel reads (execve(2)).

    Raises:
        InstallationError: the kernel would take the line for another one.
    """
    path = os.path.abspath(shutil.which(python) or python)
    if len(path.split()) != 1 or len(os.fsencode(path)) > _LONGEST:
        raise InstallationError(
            f"{path} can't be named in a program's first line, with blanks in it or more than {_LONGEST} bytes: "
            "name a shorter path of it, a link for example, with --python"
        )
    return path


def packages(python: str) -> list[str]:
    """The directories where that interpreter finds installed packages.

    Raises:
        InstallationError: it can't be run.
    """
    found = sys.path
    if python != sys.executable:
        command = [python, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError) as error:
            raise InstallationError(f"{python} can't be run: {error}: name a Python with --python") from error
    return [path for path in found if path.endswith(("site-packages", "dist-packages"))]
