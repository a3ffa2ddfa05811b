"""Give a tmpfs the mode, and with podman's ``tmpcopyup`` the content, of the image's directory under it.

The node's runtime does this itself. But in a container of one user it can't copy another user's file (EINVAL), and it
can't read a directory that is closed to the job's user, which a rootless engine's image on shared storage may have.
scrun can read it, as root of the engine's user namespace. So the mode becomes an option of the mount, and the content
becomes an archive in the bundle, which a hook unpacks after the container's mounts are made.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.mount import is_covered
from scrun.node_hooks import shell_hook
from scrun.node_scripts import read_script
from scrun.staging import traces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrun.oci import Config, Hook
    from scrun.staging.spool import Spool


_COPY_UP = "tmpcopyup"
_ARCHIVE = read_script("archive")
_UNPACK = read_script("unpack")


def prepare_tmpfs(config: Config, rootfs: str, spool: Spool, *, hooks: bool) -> list[Hook]:
    """Change the config's tmpfs mounts so that the job's user can make them on a node that has this root filesystem.

    Returns:
        createContainer hooks that the container needs; empty where the node's runtime runs no hooks (``hooks``).
    """
    needed: list[Hook] = []
    before: list[str] = []
    for mount in config.get("mounts") or ():
        destination = mount["destination"]
        is_hidden = is_covered(destination, before)
        before.append(destination)
        if mount.get("type") != "tmpfs" or is_hidden:
            continue
        names = traces.names_in(rootfs, destination)
        options = mount.setdefault("options", [])
        try:
            path, mode = _look(rootfs, names)
            if not any(option.startswith("mode=") for option in options):
                options.append(f"mode={mode:o}")
            if not (hooks and spool.exists and _COPY_UP in options and _has_others(path)):
                continue
            options.remove(_COPY_UP)
            if os.listdir(path):
                archive = _archive(path, spool, f"copy-up-{len(needed)}")
                needed.append(shell_hook(_UNPACK, rootfs, "/".join(names), archive))
        except OSError:
            continue  # the node's runtime will tell the error
    return needed


def _look(rootfs: str, names: list[str]) -> tuple[str, int]:
    """The directory's path and its mode."""
    directory = traces.open_within(rootfs, "/".join(names))
    try:
        return os.path.join(rootfs, *names), os.fstat(directory).st_mode & 0o7777
    finally:
        os.close(directory)


def _has_others(path: str) -> bool:
    """Whether the directory or something in it belongs to another user than the caller."""
    own = (os.geteuid(), os.getegid())
    return any((status.st_uid, status.st_gid) != own for status in _all(path))


def _all(path: str) -> Iterator[os.stat_result]:
    yield os.stat(path)
    for directory, directories, files in os.walk(path, onerror=None):
        for name in (*directories, *files):
            yield os.lstat(os.path.join(directory, name))


def _archive(path: str, spool: Spool, name: str) -> str:
    """Write an archive of the directory's content into the spool, and return the archive's path.

    Raises:
        StagingError: the content can't be read, or the archive can't be written.
    """
    import subprocess

    made = spool.write(name, b"")
    with open(made, "wb") as file:
        done = subprocess.run(["sh", "-c", _ARCHIVE, "sh", path], stdout=file, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise StagingError(f"{path}: can't be copied into a tmpfs: {done.stderr.decode(errors='replace').strip()}")
    return made
