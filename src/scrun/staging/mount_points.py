"""Make the mount points in a root filesystem that the job's user could not make on a node.

Any OCI runtime makes missing mount points. But with ``podman run --userns=keep-id`` the image's directories belong to a
subordinate user, so a node's runtime can't write there. scrun can, as root of a rootless engine's user namespace.
"""

from __future__ import annotations

import os
import stat

from scrun.mount import copies_link, is_bind, is_covered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.oci import Config, Mount

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_missing(config: Config, rootfs: str) -> None:
    """Make the mount point of each mount: a directory, or a file where a file is bound.

    A mount inside another mount has its mount point there, so it is skipped. Paths with symbolic links, and mount
    points that can't be made, are left to the node's runtime, which tells the error.
    """
    before: list[str] = []
    for mount in config.get("mounts") or ():
        if is_covered(mount["destination"], before):
            continue
        before.append(mount["destination"])
        if copies_link(mount):
            continue  # the runtime makes the link, or the mount point
        try:
            # A tmpfs takes the mode of an existing mount point; a runtime that makes one lets everybody write to it.
            mode = 0o1777 if mount.get("type") == "tmpfs" else 0o755
            _make(rootfs, mount["destination"], mode, is_file=_binds_a_file(mount))
        except OSError:
            continue


def is_needed() -> bool:
    """Whether the caller is root of a user namespace, and so has other rights here than the job's user on a node."""
    from scrun.identity import real_uid

    return os.geteuid() == 0 and real_uid() != 0


def _binds_a_file(mount: Mount) -> bool:
    return is_bind(mount) and not stat.S_ISDIR(os.stat(mount["source"]).st_mode)


def _make(rootfs: str, destination: str, mode: int, *, is_file: bool) -> None:
    names = [name for name in destination.split("/") if name not in ("", ".")]
    if not names or ".." in names:
        return
    directory = os.open(rootfs, _DIRECTORY)
    try:
        for name in names[:-1]:
            _mkdir(name, directory)
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        if not is_file:
            _mkdir(names[-1], directory, mode)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(names[-1], flags, 0o644, dir_fd=directory))
    except FileExistsError:
        pass
    finally:
        os.close(directory)


def _mkdir(name: str, directory: int, mode: int = 0o755) -> None:
    try:
        os.mkdir(name, mode & 0o755, dir_fd=directory)
        if mode != 0o755:
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.fchmod(made, mode)
            finally:
                os.close(made)
    except FileExistsError:
        pass
