"""The launcher: PREFIX/bin/scrun, the program that docker and podman call.

pip's own script starts Python with ``site`` and imports more modules. The launcher starts Python isolated (-I) and
without site (-S), which halves the start-up, and names the directories of scrun and its libraries. Where scrun-front
was built, its first line names scrun-front, which starts Python only where that has to answer (:mod:`scrun.front`).
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

PROGRAM = """#!{interpreter}
# Written by scrun install: run it again when this Python moves.
import _signal

blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())  # see scrun.interrupts
import gc
import sys

gc.disable()  # most calls end before a collection would pay
sys.path += {directories!r}  # after Python's own, which no package may replace
try:
    from scrun import precompiled

    precompiled.use()
    from scrun.__main__ import main
except ImportError as missing:
    sys.exit(f"scrun: {{missing}}: this scrun was removed, or parts of it: install it again, or remove " + {path!r})

main(blocked)
"""
_LINE = 126  # bytes of the first line, before Linux 5.1
_LONGEST = 120  # bytes of an interpreter in it
# A file with this text is scrun's program, also if pip has written it.
MARK = b"from scrun.__main__ import main"


def program(path: str, python: str, homes: Iterable[str], front: str = "") -> str:
    """The text of the launcher.

    Args:
        path: the launcher's path.
        python: the interpreter to start.
        homes: the directories in which Python looks for scrun, before those of the interpreter's packages.
        front: the path that scrun-front will have; empty if there is none.
    """
    directories = [*homes]
    directories += [one for one in packages(python) if one not in directories]
    interpreter = f"{front} {python}" if _fits(front, python) else f"{python} -IS"
    return PROGRAM.format(path=path, interpreter=interpreter, directories=directories)


def _fits(front: str, python: str) -> bool:
    """Whether the kernel takes a first line for scrun-front with this Python: it splits the line at its first blank."""
    line = f"#!{front} {python}"
    return bool(front) and len(line.split()) == 2 and len(os.fsencode(line)) <= _LINE


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
    """The directories in which an interpreter finds installed packages.

    Raises:
        InstallationError: the interpreter can't be run.
    """
    paths = sys.path
    if python != sys.executable:
        command = [python, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
        try:
            paths = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError) as error:
            raise InstallationError(f"can't run {python}: {error}: name a Python with --python") from error
    return [path for path in paths if path.endswith(("site-packages", "dist-packages"))]
