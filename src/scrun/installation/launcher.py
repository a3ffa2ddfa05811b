"""PREFIX/bin/scrun, the program that docker and podman call.

pip's own script starts Python with ``site`` and imports more than a runtime that is called ten times a second should.
This one starts it isolated (-I) and without site (-S), which halves the start-up, and names the directories that scrun
and its libraries are in.
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
