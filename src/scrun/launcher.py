"""``python -m scrun.launcher PATH``: write the program that docker and podman call, its manual page and its completion.

pip's own script starts Python with ``site`` and imports more than a runtime that is called ten times a second should.
This one starts it isolated (-I) and without site (-S), which halves the start-up, and names the directories that it was
installed in. Write it again after moving the installation or updating Python.

Where PATH is ``PREFIX/bin/scrun``, the manual page and what the shells complete it by go below ``PREFIX/share``, where
man(1), bash, zsh and fish look.
"""

from __future__ import annotations

import os
import sys

PROGRAM = """#!{python} -IS
# Written by python -m scrun.launcher; write it again when this Python or this installation moves.
import _signal

blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())  # see scrun.interrupts
import gc
import sys

gc.disable()  # most calls end before a collection would pay
sys.path[1:1] = {directories!r}
from scrun.__main__ import main

main(blocked)
"""


def program() -> str:
    """The text of the launcher for this interpreter and this installation."""
    import scrun

    homes = [os.path.dirname(os.path.dirname(os.path.abspath(scrun.__file__)))]
    homes += [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and path not in homes]
    return PROGRAM.format(python=sys.executable, directories=homes)


# Below PREFIX/share; each is made when it is written.
SHARED = {
    "man/man1/scrun.1": "manual",
    "bash-completion/completions/scrun": "bash",
    "zsh/site-functions/_scrun": "zsh",
    "fish/vendor_completions.d/scrun.fish": "fish",
}


def install(path: str) -> None:
    """Write the launcher to ``path`` and, where that is in a ``bin``, what goes with it.

    Raises:
        OSError: something can't be written.
    """
    write(path, program(), 0o755)
    directory = os.path.dirname(os.path.abspath(path))
    if os.path.basename(directory) == "bin" and os.path.basename(path) == "scrun":
        for name, what in SHARED.items():
            below = os.path.join(os.path.dirname(directory), "share", name)
            os.makedirs(os.path.dirname(below), exist_ok=True)
            write(below, _shared(what), 0o644)


def _shared(what: str) -> str:
    if what == "manual":
        from scrun import manual

        return manual.page()
    from scrun import cli

    return cli.completion_script(what)


def write(path: str, text: str, mode: int) -> None:
    """Write a file, for everybody to use; replaced as a whole.

    Raises:
        OSError: it can't be written.
    """
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(fresh, mode)
    os.rename(fresh, path)


def main() -> None:
    """The command line: one argument, the path to write."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scrun.launcher PATH")
    try:
        install(sys.argv[1])
    except OSError as error:
        sys.exit(f"scrun: can't write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
