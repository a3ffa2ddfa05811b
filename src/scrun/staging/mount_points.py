"""The places in a root filesystem that mounts go to, made where the job's user could not make them on a node.

In a rootless engine we are root of its user namespace and may write where the user himself may not: with
``podman run --userns=keep-id`` the image's directories are a subordinate user's. Any OCI runtime makes what is missing.
"""

from __future__ import annotations

import os
import stat

from scrun.mount import copies_link, is_bind, is_covered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_missing(config: dict[str, Any], rootfs: str) -> None:
    """Make the directory, or the file for a file that is bound, of each mount; symbolic links are left to the node.

    What is mounted within another mount has its place there. What can't be made is left to the node's runtime, which
    has the words for it.
    """
    before: list[str] = []
    for mount in config.get("mounts") or ():
        if is_covered(mount["destination"], before):
            continue
        before.append(mount["destination"])
        if copies_link(mount):
            continue  # the runtime makes a link there, or what it needs
        try:
            # A runtime that makes the place of a tmpfs lets everybody write to it; one that is there lends it its mode.
            mode = 0o1777 if mount.get("type") == "tmpfs" else 0o755
            _make(rootfs, mount["destination"], mode, is_file=_binds_a_file(mount))
        except OSError:
            continue


def is_needed() -> bool:
    """Whether we have other rights than the job's user will have on the node."""
    from scrun.identity import real_uid

    return os.geteuid() == 0 and real_uid() != 0


def _binds_a_file(mount: dict[str, Any]) -> bool:
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
