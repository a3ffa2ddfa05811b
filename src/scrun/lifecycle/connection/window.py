"""The container's terminal on this side: raw as long as the container has it, and its window's size told."""

from __future__ import annotations

import fcntl
import os
import termios

from scrun import signal, wait
from scrun.lifecycle.process import fork
from scrun.lifecycle.terminal.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from scrun.lifecycle.process.loop import Loop
    from scrun.lifecycle.terminal.terminal import Modes
    from scrun.wait import Kept

    Size = tuple[int, int]

    class WindowState(TypedDict):
        """A :class:`Window` that wasn't closed; the child is 0 and ``reports`` -1 when these have ended."""

        descriptor: int
        reports: int
        child: int
        before: Modes


_REPORT = 4  # bytes: rows and columns


class Window:
    """A terminal, made raw; ``resized`` is called with rows and columns, first and whenever they have changed.

    The kernel tells a change to the terminal's session. So a child with a session of its own has the terminal as its
    controlling terminal, where that is nobody's: a hang-up then reaches the child alone. Of a person's own terminal,
    which has a session, the caller has to tell the changes.
    """

    def __init__(
        self, loop: Loop, descriptor: int, resized: Callable[[Size], None], kept: WindowState | None = None
    ) -> None:
        self._loop, self._resized = loop, resized
        if kept:
            self._descriptor, self._reports, self.child = kept["descriptor"], kept["reports"], kept["child"]
            self._terminal = Terminal(self._descriptor, kept["before"])
            if self._reports >= 0:
                loop.watch(self._reports, self._report)
            if self.child:
                loop.child(self.child, self._child_ended)
            return
        self._descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
        self._terminal = Terminal(self._descriptor)
        try:
            self._terminal.__enter__()
        except termios.error:
            pass  # it has hung up already
        self._reports, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reports, False)
        self.child = fork.child(
            _watch,
            stdio=(self._descriptor, theirs, fork.QUIET),
            keep=(),
            session=True,
            default=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE),
        )
        os.close(theirs)
        loop.watch(self._reports, self._report)
        loop.child(self.child, self._child_ended)

    @property
    def size(self) -> Size:
        """Rows and columns now; (0, 0) if the terminal has hung up."""
        return _size(self._descriptor)

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._descriptor >= 0:
            self._terminal.__exit__()
            os.close(self._descriptor)
            self._descriptor = -1
            if self._reports >= 0:
                self._loop.unwatch(self._reports)  # which ends the child

    def keep(self, kept: Kept) -> WindowState:
        """What it is, for scrun-wait."""
        return {
            "descriptor": kept(self._descriptor),
            "reports": kept(self._reports),
            "child": self.child,
            "before": self._terminal.before(),
        }

    def _report(self) -> None:
        data = os.read(self._reports, 4096)
        if not data:
            self._loop.unwatch(self._reports)
            self._reports = -1
            return
        last = data[-_REPORT:]
        self._resized((int.from_bytes(last[:2], "big"), int.from_bytes(last[2:], "big")))

    def _child_ended(self, _status: int) -> None:
        """Without the child no changes are told."""
        self.child = 0


def _size(descriptor: int) -> Size:
    try:
        rows, columns = termios.tcgetwinsize(descriptor)
    except termios.error:
        return (0, 0)
    return rows, columns


def _watch() -> int:
    """Become scrun-wait, whose standard input is the terminal: it reports its size until nobody reads the reports."""
    try:
        os.execv(wait.PROGRAM, ["scrun: size of a terminal", wait.NAME, "window"])
    except OSError:
        return 1  # no changes are told
