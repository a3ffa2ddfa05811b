"""A process whose output is collected, and the step that stands by (:mod:`scrun.staging.children`)."""

from __future__ import annotations

import os

from scrun import marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Process(Protocol):
        """What is needed of a process: it is a :class:`scrun.program.Program` or a subprocess.Popen."""

        def poll(self) -> int | None:
            """Its exit status, or None while it runs."""

        def wait(self) -> int:
            """Wait for its end; return its exit status."""

        def terminate(self) -> None:
            """Send it SIGTERM, unless it has ended."""

        def kill(self) -> None:
            """Send it SIGKILL, unless it has ended."""


class Child:
    """A process and its output; ``out`` and ``err`` grow while :meth:`Children.wait` runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.out = bytearray()
        self.err = bytearray()

    def words(self, lines: int = 3) -> str:
        """The first lines of the process's stderr, for a message."""
        return "; ".join(marks.words(bytes(self.err)).splitlines()[:lines])


class Standing:
    """The step that carries a container's files, while nobody talks with it.

    It was started early, or it has carried the files and stays for a while to bring back what the container changes: a
    step takes 50 ms to start, and somebody waits for the end of a short container. The step ends when the worker that
    has started it ends, or closes the step's stdin. The record doesn't have it, because another step can do the same
    work (:mod:`scrun.staging.way_back`).

    Args:
        child: the step. It has nothing more to say.
        orders: the write end of its stdin.
        outputs: the read ends of its stdout and stderr.
        nodes: where it runs.
        tracked: the names of the parts whose changes it knows.
    """

    def __init__(
        self, child: Child, orders: int, outputs: tuple[int, int], nodes: Sequence[str], tracked: Sequence[str]
    ) -> None:
        self._child, self._orders, self._outputs = child, orders, outputs
        self._serves = [*nodes], [*tracked]

    def serves(self, nodes: Sequence[str], tracked: Sequence[str]) -> bool:
        """Whether it is there, on these nodes, for these parts."""
        return self._serves == ([*nodes], [*tracked]) and self._child.process.poll() is None

    def hand_over(self) -> tuple[Child, int, tuple[int, int]]:
        """Return the step and the descriptors, which are no longer this object's."""
        orders, self._orders = self._orders, -1
        return self._child, orders, self._outputs

    def close(self) -> None:
        """Have the step end."""
        if self._orders >= 0:
            for descriptor in (self._orders, *self._outputs):
                os.close(descriptor)
            self._orders = -1
