"""A person's own terminal: raw while a container uses it, and restored afterwards in every case."""

from __future__ import annotations

import os
import termios

from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    Modes = list[Any] | None  # of termios.tcgetattr, each control character with whether it is of type bytes


class Terminal:
    """The terminal at which scrun was called; a context manager that makes it raw inside the block."""

    def __init__(self, descriptor: int, before: Modes = None) -> None:
        self.descriptor = descriptor
        self._before: list[Any] | None = None
        if before:  # it is raw already
            self._before = [*before[:6], [bytes([one]) if is_byte else one for one, is_byte in before[6]]]

    @classmethod
    def of_this_process(cls) -> Self:
        """The terminal of standard error, output or input, or the controlling terminal, in runc's order.

        Raises:
            UsageError: there is none.
        """
        for descriptor in (2, 1, 0):
            if os.isatty(descriptor):
                return cls(descriptor)
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise UsageError(
                f"process.terminal is true, and there is no terminal here (/dev/tty: {error.strerror}): call scrun at "
                "a terminal, set process.terminal to false, or add --detach and --console-socket"
            ) from error

    def before(self) -> Modes:
        """The terminal's modes before it was made raw, as JSON can hold them; None if it isn't raw."""
        if self._before is None:
            return None
        characters = [(one[0] if isinstance(one, bytes) else one, isinstance(one, bytes)) for one in self._before[6]]
        return [*self._before[:6], characters]

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self.descriptor)
        self.make_raw()
        return self

    def __exit__(self, *_error: object) -> None:
        before, self._before = self._before, None
        if before is not None:
            try:
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, before)
            except termios.error:
                pass  # the terminal was closed meanwhile

    def make_raw(self) -> None:
        """Make the terminal raw (cfmakeraw(3)); once more after SIGCONT, because a shell may have changed it."""
        if self._before is None:
            return
        mode = [*self._before[:6], list(self._before[6])]
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
            | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, mode)

    def give_size_to(self, other: int) -> None:
        """Give another terminal the size of this one."""
        try:
            rows, columns = termios.tcgetwinsize(self.descriptor)
            if rows and columns:
                termios.tcsetwinsize(other, (rows, columns))
        except termios.error:
            pass  # one of the two is closed


def window_size(descriptor: int) -> tuple[int, int]:
    """Rows and columns of a terminal; (0, 0) if it has hung up."""
    try:
        rows, columns = termios.tcgetwinsize(descriptor)
    except termios.error:
        return (0, 0)
    return rows, columns


def in_foreground(descriptor: int) -> bool:
    """Whether this process may read from the terminal.

    A process in the background would be stopped (SIGTTIN), or would take another job's input.
    """
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not this process's controlling terminal, so no other job of the shell uses it
        return True
