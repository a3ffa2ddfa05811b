"""Install scrun below a prefix, stage it for a package, or remove it.

All files are looked at before any is written, so an installation that is refused has changed nothing. Each function
yields lines for a person, one for each file.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import NamedTuple

import scrun
from scrun import front
from scrun.errors import InstallationError, UsageError
from scrun.installation import engines, files, launcher, versions
from scrun.installation.files import File
from scrun.lifecycle.operations import lua_check
from scrun.lifecycle.process.installed import LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PREFIX = "/usr/local"
HOOKS = "/etc/slurm/scrun.lua"  # in a package; otherwise the script that a container here would use
_FIRST_USER = 1000  # login.defs(5), UID_MIN
# Files below PREFIX/share, and what makes them.
PAGES = {
    "man/man1/scrun.1": "manual",
    "bash-completion/completions/scrun": "bash",
    "zsh/site-functions/_scrun": "zsh",
    "fish/vendor_completions.d/scrun.fish": "fish",
}


class Wanted(NamedTuple):
    """The options of the command line; an empty one stands for its default."""

    prefix: str = ""
    destdir: str = ""
    python: str = ""
    engines: str = ""
    dry_run: bool = False


def install(wanted: Wanted, environment: Mapping[str, str]) -> Iterator[str]:
    """Install scrun, or with ``dry_run`` tell what would be written.

    Raises:
        UsageError: two options exclude each other.
        InstallationError: a file is in the way; nothing has been written.
        OSError: a file can't be read or written.
    """
    prefix, python = _prefix(wanted), launcher.interpreter(wanted.python or sys.executable)
    chosen = engines.chosen(wanted.engines)
    if wanted.destdir:
        if chosen:
            raise UsageError("--engines configures this host, and --destdir stages a package: use one of them")
        yield from _stage(wanted, prefix, python)
        return
    sources = versions.sources(prefix)
    home = os.path.join(versions.directory(prefix), versions.name(sources))
    program = os.path.join(prefix, "bin", "scrun")
    planned: list[File] = []
    if not _is_packaged(prefix):
        _check_reach(prefix, python)
        hooks = os.path.abspath(lua_check.default_script(environment))
        planned = [_program(program, python, [home], _front(sources, home)), *_pages(prefix)]
        planned += [File(hooks, lua_check.shipped_script(), owner=files.SITES)]
    planned += [engines.configuration(engine, program, environment) for engine in chosen]
    written = files.Written(prefix)
    fates = [written.fate(file) for file in planned]
    if wanted.dry_run:
        if not os.path.isdir(home):
            yield f"would copy scrun {scrun.__version__} to {home}"
        yield from _said(planned, fates, "would write")
        yield from _changes(planned[len(planned) - len(chosen) :])
        return
    with versions.Versions(prefix) as copies:
        home = copies.add(sources)
        written.announce(dict(zip(planned, fates, strict=True)))
        for file, fate in zip(planned, fates, strict=True):
            if fate in (files.NEW, files.REPLACED):
                files.write(file)
        written.note(dict(zip(planned, fates, strict=True)))
        before = copies.make_current(home)
        copies.remove_unused(but={home, before})
    yield from _said(planned, fates, "wrote")
    if "docker" in chosen:
        yield "dockerd reads it anew after: systemctl reload docker"
    yield f"scrun {scrun.__version__} is installed: {program}"


def uninstall(wanted: Wanted, environment: Mapping[str, str]) -> Iterator[str]:
    """Undo :func:`install`. Files that were changed since stay, and so do the copies that running containers need.

    Raises:
        InstallationError: nothing is installed below the prefix, or by another user.
        OSError: a file can't be removed.
    """
    prefix = _prefix(wanted)
    if not os.path.isdir(versions.directory(prefix)):
        raise InstallationError(f"no scrun is installed in {prefix}: name its --prefix")
    _check_owner(prefix)
    written = files.Written(prefix)
    docker = engines.without(os.path.join(prefix, "bin", "scrun"), environment)
    if docker and not written.is_shared(docker.path):
        docker = None  # a person has written it
    if wanted.dry_run:
        for path in written.paths():
            yield f"would remove {path}" if written.is_unchanged(path) else f"{path} would stay: it was changed"
        if docker:
            yield f"would change {docker.path}: without the runtime scrun"
        return
    hooks = os.path.abspath(lua_check.default_script(environment))
    with versions.Versions(prefix) as copies:
        used = copies.remove_unused()
        for path in written.paths():
            if path == hooks and used:
                yield f"{path} stays: containers that run need it"
            elif written.is_unchanged(path):
                os.unlink(path)
                yield f"removed {path}"
            elif os.path.lexists(path):
                yield f"{path} stays: it was changed"
        if docker:
            yield f"changed {docker.path}: without the runtime scrun"
            if docker.content:
                files.write(docker)
            else:
                os.unlink(docker.path)
        written.forget()
        copies.remove()
    for path in used:
        yield f"{path} stays: containers that run need it; remove it when they have ended"


def unwritable(error: OSError) -> str:
    """The text of the error about a file that can't be read or written."""
    hint = ": become root, or name a --prefix of your own" if isinstance(error, PermissionError) else ""
    return f"{error.filename}: {error.strerror}{hint}"


def _prefix(wanted: Wanted) -> str:
    prefix = os.path.abspath(wanted.prefix) if wanted.prefix else _own_prefix()
    if "\n" in prefix:
        raise UsageError(f"--prefix {prefix!r} has a line break in it: choose another directory")
    return prefix


def _own_prefix() -> str:
    """The prefix from which this process runs, or the default."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(scrun.__file__)))
    above, name = os.path.split(home)
    if name == versions.DIST or os.path.exists(os.path.join(home, LOCK)):
        return os.path.dirname(os.path.dirname(above))
    return DEFAULT_PREFIX


def _is_packaged(prefix: str) -> bool:
    """Whether a distribution's package has installed the files; then the package writes and removes them."""
    return os.path.isdir(os.path.join(versions.directory(prefix), versions.DIST))


def _stage(wanted: Wanted, prefix: str, python: str) -> Iterator[str]:
    """Write a package's files below --destdir.

    The package calls ``scrun install`` after its installation, and ``scrun uninstall`` before its removal.
    """
    sources = versions.running()  # not versions.sources, because this host may have another package
    dist = os.path.join(versions.directory(prefix), versions.DIST)
    home = os.path.join(versions.directory(prefix), versions.name(sources))
    in_dist = _front(sources, dist)  # which dpkg replaces together with the program
    program = _program(os.path.join(prefix, "bin", "scrun"), python, [home, dist], in_dist)
    planned = [program, *_pages(prefix), File(HOOKS, lua_check.shipped_script())]
    destdir = os.path.abspath(wanted.destdir)
    if os.path.exists(destdir + dist):
        raise InstallationError(f"{destdir}{dist} exists: stage into an empty directory")
    if not wanted.dry_run:
        versions.copy(sources, destdir + dist)
    for file in planned:
        if not wanted.dry_run:
            files.write(file, destdir)
        yield f"{'would write' if wanted.dry_run else 'wrote'} {destdir}{file.path}"


def _program(path: str, python: str, homes: Sequence[str], front: str) -> File:
    return File(path, launcher.program(path, python, homes, front).encode(), 0o755)


def _front(sources: Sequence[str], home: str) -> str:
    """The path that scrun-front has in a copy of the package; empty if it wasn't built, or this host can't run it."""
    (source,) = (path for path in sources if os.path.basename(path) == "scrun")
    program = os.path.join(source, "front", os.path.basename(front.PROGRAM))
    try:
        done = subprocess.run([program], capture_output=True, check=False)
    except OSError:
        return ""
    return os.path.join(home, "scrun", "front", os.path.basename(program)) if done.returncode == 1 else ""


def _pages(prefix: str) -> Iterator[File]:
    for name, what in PAGES.items():
        yield File(os.path.join(prefix, "share", name), _page(what).encode())


def _page(what: str) -> str:
    if what == "manual":
        from scrun import manual

        return manual.page()
    from scrun import cli

    return cli.completion_script(what)


def _said(planned: Sequence[File], fates: Sequence[str], wrote: str) -> Iterator[str]:
    for file, fate in zip(planned, fates, strict=True):
        if fate == files.KEPT:
            yield f"{file.path} stays: it is not as scrun wrote it"
        elif fate == files.LACKING:
            yield f"{file.path} isn't there, and containers need it: an administrator has to write it"
        elif fate != files.SAME:
            yield f"{wrote} {file.path}"


def _changes(planned: Sequence[File]) -> Iterator[str]:
    """The lines that would change in the engines' files."""
    import difflib

    for file in planned:
        before = (files.content_of(file.path) or b"").decode(errors="replace").splitlines()
        after = file.content.decode(errors="replace").splitlines()
        yield from difflib.unified_diff(before, after, file.path, file.path, n=1, lineterm="")


def _check_reach(prefix: str, python: str) -> None:
    """Check that users can run a program that root installs for all: otherwise only root's docker could run it.

    Refuse one that a user could change as well, because root's docker would run it.

    Raises:
        InstallationError: the interpreter or a library is below a directory that others can't enter, or can change.
    """
    if os.geteuid() != 0 or _closed(prefix):
        return
    for path in (python, os.path.realpath(python), *_libraries()):
        _check_only_root_changes(path)
        if place := _closed(path):
            raise InstallationError(
                f"users can't reach {path}, because {place} is closed to them: install scrun where they can "
                "(a venv in /opt, pipx install --global), and then run that one's scrun install"
            )
    for path in launcher.packages(python):  # by the interpreter itself, which is known to be root's by now
        _check_only_root_changes(path)


def _check_only_root_changes(path: str) -> None:
    if place := _open(path) or _open(os.path.realpath(path)):
        raise InstallationError(
            f"others than root can change {place}, and root's docker would run what is there: install scrun from "
            "where root alone can write (a venv in /opt, pipx install --global)"
        )


def _closed(path: str) -> str:
    """The path, or the directory above it, that others may not read and enter; empty if there is none."""
    while True:
        if os.path.exists(path) and os.stat(path).st_mode & 0o5 != 0o5:
            return path
        if path == os.path.dirname(path):
            return ""
        path = os.path.dirname(path)


def _check_owner(prefix: str) -> None:
    """Refuse to remove what another user's list names: any file of the host may be in it.

    Raises:
        InstallationError: the installation is another user's.
    """
    owner = os.stat(versions.directory(prefix)).st_uid
    if owner not in (0, os.geteuid()):
        raise InstallationError(f"the scrun in {prefix} is user {owner}'s: uninstall it as that user")


def _open(path: str) -> str:
    """The path, or the directory above it, that a user who isn't root could change; empty if there is none."""
    while True:
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            pass
        else:
            is_everybodys = facts.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH
            if facts.st_uid >= _FIRST_USER or is_everybodys:
                return path
        if path == os.path.dirname(path):
            return ""
        path = os.path.dirname(path)


def _libraries() -> Iterator[str]:
    from importlib.util import find_spec

    for name in ("click", "jsonschema"):
        spec = find_spec(name)
        if spec and spec.origin:
            yield os.path.dirname(spec.origin)
