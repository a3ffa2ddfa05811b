"""The user whose rights bring files back, and the owner of these files."""

from __future__ import annotations

import contextlib
import functools
import os

from scrun.staging import mount_points
from scrun.staging.spool import acts_for_another

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrun.oci import IDMapping, User
    from scrun.staging.model import ContainerFiles


@contextlib.contextmanager
def acting_as(container: ContainerFiles) -> Iterator[None]:
    """A context that writes to a volume with the rights of the job's user.

    Under docker's daemon the caller is the machine's root, but a user on a node made the changes, and may have changed
    a copy of files that he may only read. If the caller is that user already, the context does nothing.
    """
    if not acts_for_another(container.user_id):
        yield
        return
    groups = os.getgroups()
    os.setgroups(_groups(container.user_id, container.group_id))
    os.setegid(container.group_id)
    os.seteuid(container.user_id)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def new_owner(container: ContainerFiles) -> tuple[int, int] | None:
    """The owner of new files in the root filesystem: the host's ids of the container's user.

    On the node all files belong to the job's user, so the archive doesn't tell another owner. None: the archive's own
    owner, because the job was root's.
    """
    if _job_is_roots(container):
        return None
    user: User = (container.config.get("process") or {}).get("user") or {}
    linux = container.config.get("linux") or {}
    return (
        _outside(user.get("uid", 0), linux.get("uidMappings")),
        _outside(user.get("gid", 0), linux.get("gidMappings")),
    )


def volume_owner(container: ContainerFiles, source: str) -> tuple[int, int] | None:
    """The owner of new files in a volume: the job's user, as if the node had the volume itself; None: the archive's.

    A volume that podman has given to the container's user (a subordinate user) gets that user's files.

    Raises:
        OSError: the volume, ``source``, can't be looked at.
    """
    if _job_is_roots(container):
        return None
    own, users = (os.geteuid(), os.getegid()), new_owner(container)
    if users and mount_points.is_needed() and os.stat(source, follow_symlinks=False).st_uid == users[0]:
        return users
    return own


def _job_is_roots(container: ContainerFiles) -> bool:
    from scrun.identity import real_uid

    return container.user_id == 0 and real_uid() == 0


def _outside(number: int, mappings: list[IDMapping] | None) -> int:
    for mapping in mappings or []:
        offset = number - mapping["containerID"]
        if 0 <= offset < mapping["size"]:
            return mapping["hostID"] + offset
    return number


@functools.cache
def _groups(user_id: int, group_id: int) -> list[int]:
    import pwd

    try:
        return os.getgrouplist(pwd.getpwuid(user_id).pw_name, group_id)
    except KeyError:
        return [group_id]
