"""The options of create and run, and where their messages go."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.terminal.live_line import LiveLine
    from scrun.log import Log

# Seconds; podman gives create 240. As long as create waits, docker and podman hold the container's lock, and podman ps
# and docker inspect wait too.
PATIENCE = 30.0
QUEUED_PATIENCE = 3.0  # while Slurm queues the job, of which the container's user is told at its start
NODE_PATIENCE = 300.0  # seconds that a container runs on without a connection between its node and this host


class Options:
    """The options of create and run. Paths are as they were given, or empty.

    Args:
        bundle: the bundle's directory.
        pid_file: gets the stand-in's pid.
        console_socket: the socket that gets the terminal.
        config: the name of config.json in the bundle.
        attached: whether the process that creates the container stays, and the container ends with it (run).
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
    """Where messages go.

    Args:
        logger: the log.
        log_file, log_format: the options --log and --log-format, which hooks get too.
        live: the live line of a person's terminal.
    """

    def __init__(self, logger: Log, log_file: str = "", log_format: str = "text", live: LiveLine | None = None) -> None:
        self.say, self.levels, self.live = logger.say, logger.levels, live
        self.descriptors = logger.descriptors
        self.log_file, self.log_format = log_file, log_format
