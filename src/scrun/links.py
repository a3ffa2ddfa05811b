"""Symbolic links followed inside another root directory, as a container's own process would follow them."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # importing typing takes 6 ms; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_LINKS = 40
"""Symbolic links in one path, as many as Linux follows (path_resolution(7))."""


def follow(path: str, target_of: Callable[[list[str]], str | None]) -> tuple[list[str], list[str]]:
    """Follow ``path`` from a root directory; ``..`` stops at that root.

    Args:
        path: a path, which is taken as absolute.
        target_of: tells what is at a list of names: a symbolic link's target; "" for anything that may be a directory;
            None to go no further.

    Returns:
        The names on the way, without links, and the words of the path that were not followed.

    Raises:
        OSError: ELOOP, more than :data:`MOST_LINKS` links.
    """
    names: list[str] = []
    ahead = path.split("/")[::-1]
    links = 0
    while ahead:
        word = ahead.pop()
        if word == "..":
            del names[-1:]
        elif word not in ("", "."):
            names.append(word)
            target = target_of(names)
            if target is None:
                break
            if target:
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                names = [] if target.startswith("/") else names[:-1]
                ahead += target.split("/")[::-1]
    return names, [word for word in reversed(ahead) if word not in ("", ".")]
