"""What create and run are told by their command line, and where their messages go."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.terminal.live_line import LiveLine
    from scrun.log import Log

# Seconds; podman gives create 240. As long as create waits, docker and podman hold the container's lock, and what looks
# at it waits as well: podman ps, docker inspect.
PATIENCE = 30.0


class Options:
    """What the command line says; paths as given, empty when not.

    ``attached``: whoever creates the container stays with it, and it ends when they do (:mod:`run`).
    """

    def __init__(
        self,
        bundle: str,
        pid_file: str = "",
        console_socket: str = "",
        config: str = "config.json",
        *,
        attached: bool = False,
    ) -> None:
        self.bundle, self.pid_file, self.console_socket, self.config = bundle, pid_file, console_socket, config
        self.attached = attached


class Output:
    """Where messages go, and how the hooks are told of it; at a terminal there is a live line too."""

    def __init__(self, logger: Log, log_file: str = "", log_format: str = "text", live: LiveLine | None = None) -> None:
        self.say, self.levels, self.live = logger.say, logger.levels, live
        self.descriptors = logger.descriptors
        self.log_file, self.log_format = log_file, log_format
