"""The launcher: PREFIX/bin/scrun, the program that docker and podman call.

pip's own script starts Python with ``site`` and imports more modules. The launcher starts Python isolated (-I) and
without site (-S), which halves the start-up, and names the directories of scrun and its libraries.
"""

from __future__ import annotations

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
    sys.exit(f"scrun: {{missing}}: this scrun was removed, or parts of it: install it again, or remove {path}")

main(blocked)
"""
# A file with this text is scrun's program, also if pip has written it.
MARK = b"from scrun.__main__ import main"


def program(path: str, python: str, homes: Iterable[str]) -> str:
    """The text of the launcher.

    Args:
        path: the launcher's path.
        python: the interpreter to start.
        homes: the directories in which Python looks for scrun, before those of the interpreter's packages.
    """
    directories = [*homes]
    directories += [one for one in packages(python) if one not in directories]
    return PROGRAM.format(path=path, python=python, directories=directories)


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
