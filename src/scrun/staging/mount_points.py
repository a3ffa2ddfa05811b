"""The places in a root filesystem that mounts go to: made where the job's user could not make them on a node, and
removed where they are Slurm's.

In a rootless engine we are root of its user namespace and may write where the user himself may not: with
``podman run --userns=keep-id`` the image's directories are a subordinate user's. Any OCI runtime makes what is missing.

slurmstepd mounts its own directory in each container, so the node's runtime makes a place for it whose name has the
job's number. That would be in each image that is built or committed.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_OF_A_STEP = "oci-job"  # what slurmstepd calls its directories in that place
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_missing(config: dict[str, Any], rootfs: str, places: Sequence[str] = ()) -> None:
    """Make the directory, or the file for a file that is bound, of each mount; symbolic links are left to the node.

    ``places`` are directories that are needed as well.

    What can't be made is left to the node's runtime too, which has the words for it; and what is within another mount
    will be made in that, if need be.
    """
    before: list[str] = []
    for mount in (*(config.get("mounts") or ()), *({"destination": place} for place in places)):
        destination = os.path.normpath(mount["destination"])
        if not any(destination.startswith(f"{one}/") for one in before):
            before.append(destination)
            try:
                _make(rootfs, mount["destination"], is_file=_binds_a_file(mount))
            except OSError:
                continue


def is_needed() -> bool:
    """Whether we have other rights than the job's user will have on the node."""
    from scrun.identity import real_uid

    return os.geteuid() == 0 and real_uid() != 0


def missing(rootfs: str, place: str) -> str:
    """The first directory on the way to that place that isn't there; "" where there is none, or that can't be told."""
    names = place.strip("/").split("/")
    if ".." in names:
        return ""
    way = ""
    try:
        directory = os.open(rootfs, _DIRECTORY)
    except OSError:
        return ""
    try:
        for name in names:
            way += f"/{name}"
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
    except FileNotFoundError:
        return way
    except OSError:  # a symbolic link, whose target is for the node to find
        return ""
    finally:
        os.close(directory)
    return ""


def unmake(rootfs: str, place: str, first_made: str, step: str) -> None:
    """Remove what was made for the directory of that step ("JOB-STEP"), as far as nothing is in it.

    ``place`` is where slurmstepd mounts such directories, ``first_made`` what :func:`missing` said of it.
    """
    try:
        _rmdir(rootfs, f"{place}/{_OF_A_STEP}{step}")
    except OSError:
        pass  # it was mounted at the place itself, or not at all
    try:
        while first_made and f"{place}/".startswith(f"{first_made}/"):
            _rmdir(rootfs, place)
            place = os.path.dirname(place)
    except OSError:
        pass


def _rmdir(rootfs: str, path: str) -> None:
    """Remove an empty directory; no symbolic link is followed.

    Raises:
        OSError: there is none, or it isn't empty.
    """
    *names, last = path.strip("/").split("/")
    directory = os.open(rootfs, _DIRECTORY)
    try:
        for name in names:
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.rmdir(last, dir_fd=directory)
    finally:
        os.close(directory)


def _binds_a_file(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    if mount.get("type") != "bind" and "bind" not in options and "rbind" not in options:
        return False
    return not stat.S_ISDIR(os.stat(mount["source"]).st_mode)


def _make(rootfs: str, destination: str, *, is_file: bool) -> None:
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
            _mkdir(names[-1], directory)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(names[-1], flags, 0o644, dir_fd=directory))
    except FileExistsError:
        pass
    finally:
        os.close(directory)


def _mkdir(name: str, directory: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        pass
