"""A fault of ours in a process that has no terminal and no caller: into the container's log with it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container


def write(container: Container) -> None:
    """Append the traceback of the exception at hand to the anchor's log, if that can be written."""
    import traceback  # only now: it is large, and this is the end of the process

    try:
        descriptor = os.open(container.child("anchor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, traceback.format_exc().encode("utf-8", "backslashreplace"))
        os.close(descriptor)
    except OSError:
        pass  # a full disk: what is to be done after this counts
