"""Where in the container the program to run lies.

slurmstepd looks a relative process.args[0] up on the host's PATH, not the container's (measured: ``echo`` became
/usr/bin/echo, which a busybox image doesn't have), so it is looked up here, at create, and the user learns at once
what is wrong. The words of the errors are Go's os/exec's, as runc prints them: docker and podman match them for
their exit status 126 or 127.
"""

from __future__ import annotations

import errno
import os
import stat

from scrun.errors import ExecutableNotFound, ExecutableNotPermitted
from scrun.links import follow
from scrun.mount import is_bind

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What `runc spec` and docker put into process.env; used when the container has no PATH of its own."""


def resolve(config: dict[str, Any], rootfs: str, *, bundle: str = "/", sources: Mapping[str, str] | None = None) -> str:
    """The absolute path, as the container sees it, of process.args[0] of a config that has been checked.

    Symbolic links are followed within the container only, and not resolved in the answer: busybox's applets are
    links to /bin/busybox and go by the name they were called with. Where we can't see (no permission, a mount that
    isn't a bind) the node has the last word, and the likeliest path is returned.

    ``rootfs`` is a path on this host, ``bundle`` the directory that relative bind sources refer to, and ``sources``
    says where on this host a bind's source is to be found when that isn't where the config has it.

    Raises ExecutableNotFound (127 in docker) or ExecutableNotPermitted (126).
    """
    process = config["process"]
    name: str = process["args"][0]
    cwd: str = process["cwd"]
    tree = _Tree(config, rootfs, bundle, sources or {})
    if "/" in name:
        path = os.path.join(cwd, name.removeprefix("./"))
        _refuse(name, tree.mode(path))
        return path
    guesses = []
    for directory in _search_path(process.get("env", [])) if name else []:
        # An empty or relative entry refers to the working directory, as in execvp(3).
        path = os.path.join(cwd, directory, name)
        mode = tree.mode(path)
        if mode is None:
            guesses.append(path)
        elif _is_executable(mode):
            return path
    if guesses:
        # /bin/NAME is right on most images: usr-merged ones have all of /usr/bin there, busybox its applets.
        return f"/bin/{name}" if f"/bin/{name}" in guesses else guesses[0]
    # Like Go's LookPath, also when there is a file of that name that can't be executed.
    raise ExecutableNotFound(f'exec: "{name}": executable file not found in $PATH')


def _search_path(env: list[str]) -> list[str]:
    value = DEFAULT_PATH
    for variable in env:
        if variable.startswith("PATH="):  # the last one counts, in runc as in crun
            value = variable[len("PATH=") :]
    return value.split(":")


def _is_executable(mode: int) -> bool:
    # Any x bit: whose it is, the node knows better. Ids here and there, and the user namespaces, differ.
    return mode > 0 and stat.S_ISREG(mode) and bool(mode & 0o111)


def _refuse(name: str, mode: int | None) -> None:
    """Raise unless ``name``'s mode is an executable's; ``mode`` as :meth:`_Tree.mode` gives it."""
    if mode is None or _is_executable(mode):
        return
    if mode < 0:
        raise ExecutableNotFound(f'exec: "{name}": stat {name}: {os.strerror(-mode).lower()}')
    if stat.S_ISDIR(mode):
        raise ExecutableNotPermitted(f'exec: "{name}": is a directory: permission denied')  # podman reads the latter
    raise ExecutableNotPermitted(f'exec: "{name}": permission denied')


class _Tree:
    """The container's file tree as its mounts will make it, seen from this host without mounting anything."""

    def __init__(self, config: dict[str, Any], rootfs: str, bundle: str, sources: Mapping[str, str]) -> None:
        # Container path, as its components, to the host path that is mounted there; None for what isn't a bind.
        self._mounts: dict[tuple[str, ...], str | None] = {(): rootfs}
        for mount in config.get("mounts", []):
            place, _ = self._walk(mount["destination"])
            # What was mounted below is hidden: mounts are made in the order listed (config.md, Mounts).
            self._mounts = {at: host for at, host in self._mounts.items() if at[: len(place)] != place}
            self._mounts[place] = _bind_source(mount, bundle, sources)

    def mode(self, path: str) -> int | None:
        """st_mode of ``path`` with its links followed, minus errno if that fails, None if it can't be known here."""
        return self._walk(path)[1]

    def _walk(self, path: str) -> tuple[tuple[str, ...], int | None]:
        """Where in the container ``path`` leads, and :meth:`mode` there; ``..`` stops at the container's root."""
        mode: int | None = stat.S_IFDIR

        def target_of(names: list[str]) -> str | None:
            nonlocal mode
            host = self._host(names)
            mode = _lstat(host)
            if (mode is None or mode == -errno.ENOENT) and self._is_above_a_mount(names):
                mode = stat.S_IFDIR  # the runtime makes the directories that lead to a mount
            if mode is None or mode < 0:
                return None
            if stat.S_ISLNK(mode):
                target = _readlink(host)
                mode = None if target is None else stat.S_IFDIR
                return target
            return "" if stat.S_ISDIR(mode) else None

        try:
            names, rest = follow(path, target_of)
        except OSError as error:
            return tuple(word for word in path.split("/") if word), -(error.errno or errno.ELOOP)
        if rest and mode is not None and mode > 0:
            mode = -errno.ENOTDIR
        return (*names, *(word for word in rest if word != "..")), mode

    def _host(self, place: list[str]) -> str | None:
        for length in range(len(place), -1, -1):
            at = tuple(place[:length])
            if at in self._mounts:
                source = self._mounts[at]
                return None if source is None else os.path.join(source, *place[length:])
        raise AssertionError("the rootfs is in the table, or what is mounted over it")

    def _is_above_a_mount(self, place: list[str]) -> bool:
        return any(len(at) > len(place) and at[: len(place)] == tuple(place) for at in self._mounts)


def _bind_source(mount: dict[str, Any], bundle: str, sources: Mapping[str, str]) -> str | None:
    if not is_bind(mount):
        return None
    source = mount.get("source", "")
    # The source itself is a path of this host, so its links are too; below it they are the container's.
    real = os.path.realpath(os.path.join(bundle, sources.get(source, source)))
    return real if os.path.lexists(real) else None  # it may be there on the node


def _lstat(host: str | None) -> int | None:
    if host is None:
        return None
    try:
        return os.lstat(host).st_mode
    except PermissionError:
        return None
    except OSError as error:
        return -(error.errno or errno.EIO)


def _readlink(host: str | None) -> str | None:
    try:
        return os.readlink(host) if host is not None else None
    except OSError:
        return None
