"""The path of the program to run, inside the container.

slurmstepd looks up a relative process.args[0] on the host's PATH, not on the container's. (Measured: ``echo`` became
/usr/bin/echo, which a busybox image doesn't have.) So the program is looked up here, at create, and the user learns at
once what is wrong. The error messages are Go's os/exec's, as runc prints them, because docker and podman match their
words to choose exit status 126 or 127.
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

    from scrun.oci import Config, Mount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a container that has none of its own; `runc spec` and docker write the same into process.env."""


def find_program(config: Config, rootfs: str, *, bundle: str = "/", sources: Mapping[str, str] | None = None) -> str:
    """The absolute path in the container of process.args[0] of a checked config.

    Symbolic links are followed within the container only. The answer itself keeps its links, because busybox's applets
    are links to /bin/busybox that depend on their own name. Where this host can't look (no permission, a mount that
    isn't a bind), the likeliest path is returned, and the node decides.

    Args:
        config: the checked config.
        rootfs: the root filesystem's path on this host.
        bundle: the directory that relative bind sources refer to.
        sources: paths on this host of bind sources that are elsewhere than the config says, by the config's source.

    Raises:
        ExecutableNotFound: docker's exit status 127.
        ExecutableNotPermitted: docker's exit status 126.
    """
    process = config["process"]
    name: str = process["args"][0]
    cwd: str = process["cwd"]
    tree = _ContainerTree(config, rootfs, bundle, sources or {})
    if "/" in name:
        path = os.path.join(cwd, name.removeprefix("./"))
        _refuse(name, tree.mode(path))
        return path
    guesses = []
    for directory in _search_path(process.get("env", [])) if name else []:
        # An empty or relative entry of PATH refers to the working directory, as in execvp(3).
        path = os.path.join(cwd, directory, name)
        mode = tree.mode(path)
        if mode is None:
            guesses.append(path)
        elif _is_executable(mode):
            return path
    if guesses:
        # /bin/NAME is right in most images: usr-merged images have all of /usr/bin there, and busybox has its applets.
        return f"/bin/{name}" if f"/bin/{name}" in guesses else guesses[0]
    # The same error as Go's LookPath, also for a file that can't be executed.
    raise ExecutableNotFound(f'exec: "{name}": executable file not found in $PATH')


def _search_path(env: list[str]) -> list[str]:
    value = DEFAULT_PATH
    for variable in env:
        if variable.startswith("PATH="):  # the last PATH counts, in runc and in crun
            value = variable[len("PATH=") :]
    return value.split(":")


def _is_executable(mode: int) -> bool:
    # Any x bit counts. The node checks whose it is, because ids and user namespaces differ between here and there.
    return mode > 0 and stat.S_ISREG(mode) and bool(mode & 0o111)


def _refuse(name: str, mode: int | None) -> None:
    """Raise an error unless ``mode``, as :meth:`_ContainerTree.mode` returns it, is an executable's."""
    if mode is None or _is_executable(mode):
        return
    if mode < 0:
        raise ExecutableNotFound(f'exec: "{name}": stat {name}: {os.strerror(-mode).lower()}')
    if stat.S_ISDIR(mode):
        raise ExecutableNotPermitted(
            f'exec: "{name}": is a directory: permission denied'
        )  # podman matches "permission denied"
    raise ExecutableNotPermitted(f'exec: "{name}": permission denied')


class _ContainerTree:
    """The container's files with its mounts, as far as this host sees them; nothing is mounted."""

    def __init__(self, config: Config, rootfs: str, bundle: str, sources: Mapping[str, str]) -> None:
        # The host path that is mounted at a container path (its names); None for a mount that isn't a bind.
        self._mounts: dict[tuple[str, ...], str | None] = {(): rootfs}
        for mount in config.get("mounts", []):
            place, _ = self._walk(mount["destination"])
            # This mount hides earlier ones below it: mounts are made in the config's order (config.md, Mounts).
            self._mounts = {at: host for at, host in self._mounts.items() if at[: len(place)] != place}
            self._mounts[place] = _bind_source(mount, bundle, sources)

    def mode(self, path: str) -> int | None:
        """st_mode of ``path`` with links followed; a negative errno if that fails; None if this host can't know."""
        return self._walk(path)[1]

    def _walk(self, path: str) -> tuple[tuple[str, ...], int | None]:
        """The names of ``path`` in the container without links, and its :meth:`mode`; ``..`` stops at the root."""
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


def _bind_source(mount: Mount, bundle: str, sources: Mapping[str, str]) -> str | None:
    if not is_bind(mount):
        return None
    source = mount.get("source", "")
    # The source is a path of this host, so its links are this host's; links below it are the container's.
    real = os.path.realpath(os.path.join(bundle, sources.get(source, source)))
    return real if os.path.lexists(real) else None  # the node may have the source


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
