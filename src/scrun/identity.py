"""The caller's real uid, the directory of the caller's containers, and valid container ids.

A rootless podman or docker runs scrun as uid 0 of a user namespace, sometimes without an environment, so uid and
directory come from the kernel alone.
"""

from __future__ import annotations

import os

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_ID_LENGTH = 1024


def real_uid() -> int:
    """The caller's uid in the machine's own user namespace (user_namespaces(7), uid_map)."""
    uid = os.getuid()
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as uid_map:
            for line in uid_map:
                inside, outside, count = map(int, line.split())
                if inside <= uid < inside + count:
                    return outside + uid - inside
    except OSError:
        pass
    return uid


def is_machines_root() -> bool:
    """Whether the caller is root of the machine, and not of a user namespace only."""
    return os.geteuid() == 0 and real_uid() == 0


def default_root() -> str:
    """The directory of the caller's containers, the default of --root (scrun(1))."""
    return f"/run/user/{real_uid()}/scrun"


def is_valid_id(container_id: str) -> bool:
    """Whether runc would take the id: letters, digits and ``_+-.``, no leading dot, at most 1024 characters."""
    return (
        0 < len(container_id) <= _ID_LENGTH
        and container_id[0] != "."
        and all(character in _ID_CHARACTERS for character in container_id)
    )
