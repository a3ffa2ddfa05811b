"""The container's input and output as the anchor holds them, and the anchor's own words: there, and in the logs."""

from __future__ import annotations

import os

from scrun import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container


class Stdio:
    """``descriptors`` are the container's three, -1 for one that the anchor has no longer.

    ``levels`` say what goes to the anchor's own log, and what to syslog.
    """

    def __init__(self, container: Container) -> None:
        self.descriptors: list[int] = [0, 1, 2]
        self.levels: tuple[str, str] = ("debug", "quiet")
        self._container = container

    def replace(self, descriptors: list[int]) -> None:
        """Use these for the container's; close those that are no longer among them."""
        for descriptor in {*self.descriptors} - {*descriptors, -1}:
            os.close(descriptor)
            if descriptor <= 2:  # the lowest three stay open, so that nothing else gets such a number
                os.open(os.devnull, os.O_RDWR)
        self.descriptors = descriptors

    def log(self, level: str, message: str, *, system: bool = True) -> None:
        """Write to the anchor's own log, and to syslog unless somebody else does, as far as the levels let through."""
        in_file, in_syslog = self.levels
        if log.rank(level) <= log.rank(in_file) and not self._container.is_removed:  # who removes it must find it empty
            log.append(self._container.child("anchor.log"), level, message)
        if system and log.rank(level) <= log.rank(in_syslog):
            log.to_syslog(level, f"container {self._container.id}: {message}", log.DAEMON)

    def say(self, message: str) -> None:
        """Tell who reads the container's standard error."""
        self.log("error", message)
        if self.descriptors[2] >= 0:
            try:
                os.write(self.descriptors[2], f"scrun: {message}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass

    def tell(self, level: str, message: str) -> None:
        """What stage_out has to say: changes that did not come back are for who runs the container, too."""
        if level == "error":
            self.say(message)
        else:
            self.log(level, message)
