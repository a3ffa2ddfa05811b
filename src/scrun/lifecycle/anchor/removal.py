"""Notice that somebody has removed the container's directory: at a user's last logout logind empties /run/user/UID.

Without its directory a container can't be found any more, so nobody could end it, or list it. The kernel tells by a
signal when a file of the directory is removed (dnotify: F_NOTIFY in fcntl(2)): that takes no descriptor and no polling,
and inotify would have to be called through ctypes.
"""

from __future__ import annotations

import fcntl
import os

from scrun import signal
from scrun.lifecycle.container.directory import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor.view import Anchor


def watch(anchor: Anchor) -> None:
    """Have the container end when its directory goes; where the kernel can't tell, nothing is watched."""

    def removed() -> None:
        container = anchor.container
        if container.is_removed or os.access(STATE, os.F_OK, dir_fd=container.descriptor):
            return
        container.is_removed = True
        anchor.happen("directory_gone")

    anchor.loop.on_signal(signal.SIGIO, removed)
    try:
        fcntl.fcntl(anchor.container.descriptor, fcntl.F_NOTIFY, fcntl.DN_DELETE | fcntl.DN_MULTISHOT)
    except OSError:
        anchor.loop.on_signal(signal.SIGIO, None)
