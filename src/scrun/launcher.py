"""``python -m scrun.launcher PATH``: write the program that docker and podman call, its manual page and its completion.

pip's own script starts Python with ``site`` and imports more than a runtime that is called ten times a second should.
This one starts it isolated (-I) and without site (-S), which halves the start-up, and names the directories that it was
installed in. Write it again after moving the installation or updating scrun or Python.

Where PATH is ``PREFIX/bin/scrun``, it runs a copy of the package below ``PREFIX/lib/scrun``, which outlasts updates for
as long as containers need it (:mod:`scrun.versions`), and the manual page and what the shells complete it by go below
``PREFIX/share``, where man(1), bash, zsh and fish look. ``--remove PATH`` removes all of that.
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


def program(home: str = "") -> str:
    """The text of the launcher for this interpreter and this installation, or the copy of it in ``home``."""
    import scrun

    homes = [home or os.path.dirname(os.path.dirname(os.path.abspath(scrun.__file__)))]
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
    prefix = _prefix(path)
    if not prefix:
        write(path, program(), 0o755)
        return
    from scrun.versions import Versions

    with Versions(prefix) as versions:
        before = _home(path)
        home = versions.add()
        write(path, program(home), 0o755)
        versions.remove_unused(but={home, before})
    for name, what in SHARED.items():
        below = os.path.join(prefix, "share", name)
        os.makedirs(os.path.dirname(below), exist_ok=True)
        write(below, _shared(what), 0o644)


def remove(path: str) -> list[str]:
    """Undo :func:`install`; the result are the directories that stay, since running containers need them.

    Raises:
        OSError: something can't be removed.
    """
    used = []
    if prefix := _prefix(path):
        from scrun.versions import Versions

        for name in SHARED:
            _unlink(os.path.join(prefix, "share", name))
        with Versions(prefix) as versions:
            _unlink(path)
            used = versions.remove_unused()
            versions.remove()
    _unlink(path)
    return used


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _prefix(path: str) -> str:
    """PREFIX of PREFIX/bin/scrun, empty for another path."""
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.dirname(directory) if (os.path.basename(directory), name) == ("bin", "scrun") else ""


def _home(path: str) -> str:
    """The directory that a launcher which is there runs from."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            _, _, listed = file.read(4096).partition("sys.path[1:1] = ['")
    except OSError:
        return ""
    return listed.partition("'")[0]


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
    """The command line: the path to write, or to remove."""
    arguments = [word for word in sys.argv[1:] if word != "--remove"]
    if len(arguments) != 1:
        sys.exit("usage: python -m scrun.launcher [--remove] PATH")
    try:
        if arguments == sys.argv[1:]:
            install(*arguments)
        else:
            for used in remove(*arguments):
                print(f"scrun: {used} stays: containers that run need it; remove it when they have ended")
    except OSError as error:
        sys.exit(f"scrun: can't write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
