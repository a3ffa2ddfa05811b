"""The anchor's event loop: descriptors, children, timers; nothing that it doesn't need."""

from __future__ import annotations

import os
import select
import time

from scrun import signal, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ready = Callable[[], None]
    Ended = Callable[[int], None]


class Loop:
    """Calls back when a descriptor can be read or written, a child has ended or a time has come."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Ready] = {}
        self._events: dict[int, int] = {}  # of poll(2), by descriptor
        self._ended: dict[int, Ended] = {}
        self._timers: dict[int, tuple[float, Ready]] = {}
        self._signals: dict[int, Ready] = {}
        self._next_timer = 0
        self._running = True
        self._quiet: tuple[float, Ready] | None = None
        self._may_be_quiet = True
        self._wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.watch(self._wake, self._woken)

    def watch(self, descriptor: int, ready: Ready, *, only_gone: bool = False, events: int = select.POLLIN) -> None:
        """Call ``ready`` whenever one of the events of poll(2) comes, or the other end has gone; or only when that has.

        A descriptor that is watched already is watched anew.
        """
        self._ready[descriptor] = ready
        self._events[descriptor] = 0 if only_gone else events
        self._poll.register(descriptor, self._events[descriptor])

    def unwatch(self, descriptor: int) -> None:
        """Watch the descriptor no longer, and close it."""
        if self.let_be(descriptor):
            os.close(descriptor)

    def let_be(self, descriptor: int) -> bool:
        """Watch the descriptor no longer, but leave it open; whether it was watched."""
        if self._ready.pop(descriptor, None) is None:
            return False
        del self._events[descriptor]
        self._poll.unregister(descriptor)
        return True

    def child(self, pid: int, ended: Ended) -> None:
        """Call ``ended`` with the exit status (128 + n for signal n) when the child has ended."""
        self._ended[pid] = ended

    def on_signal(self, number: int, came: Ready | None) -> None:
        """Call ``came`` after each such signal; None: ignore it from now on."""
        self._signals.pop(number, None)
        if came:
            self._signals[number] = came
        signal.signal(number, (lambda _number, _frame: None) if came else signal.SIG_IGN)

    def after(self, seconds: float, due: Ready) -> int:
        """Call ``due`` once after that time; the number is for :meth:`forget`."""
        self._next_timer += 1
        self._timers[self._next_timer] = (time.monotonic() + seconds, due)
        return self._next_timer

    def forget(self, timer: int) -> None:
        """Drop a timer; one that was called already is no error."""
        self._timers.pop(timer, None)

    def when_quiet(self, seconds: float, call: Ready) -> None:
        """Call ``call`` when nothing has come for so long and no timer runs; once, until something comes again."""
        self._quiet, self._may_be_quiet = (seconds, call), True

    def at_rest(self, children: set[int]) -> dict[int, int]:
        """The events of poll(2) that are waited for, by descriptor.

        Raises:
            Busy: a timer runs, or a child that isn't one of these.
        """
        wait.check(not self._timers, "a timer runs")
        wait.check(children >= self._ended.keys(), "a child runs")
        return {number: events for number, events in self._events.items() if number != self._wake}

    def is_quiet(self) -> bool:
        """Whether nothing has come that is still to be served."""
        return not self._poll.poll(0)

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._running = False

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        while self._running:
            # With what was watched when the event came: a callback may close a descriptor, and its number be used anew.
            events = [(number, self._ready.get(number)) for number, _event in self._poll.poll(self._patience())]
            if events:
                self._may_be_quiet = True
            elif self._quiet and self._may_be_quiet and not self._timers:
                self._may_be_quiet = False
                self._quiet[1]()
            for descriptor, ready in events:
                if ready and self._ready.get(descriptor) is ready:
                    ready()
            now = time.monotonic()
            for number, (due, call) in list(self._timers.items()):
                if due <= now and number in self._timers:
                    del self._timers[number]
                    call()
            self._reap()

    def _patience(self) -> float | None:
        """Milliseconds until the next timer is due, or all has been quiet for long; None when there is no such time."""
        if not self._timers:
            return self._quiet[0] * 1000 if self._quiet and self._may_be_quiet else None
        return max(0.0, min(due for due, _call in self._timers.values()) - time.monotonic()) * 1000 + 1

    def _woken(self) -> None:
        try:
            numbers = {*os.read(self._wake, 512)}
        except BlockingIOError:
            return
        for number in numbers & self._signals.keys():
            self._signals[number]()

    def _reap(self) -> None:
        """Wait for the children we know, and for any that were left to us (the anchor adopts nothing by itself)."""
        for pid in list(self._ended):
            try:
                reaped, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                reaped, status = pid, 255 << 8
            if reaped:
                self._ended.pop(pid)(exit_status(status))


def exit_status(wait_status: int) -> int:
    """A wait(2) status as a shell says it: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code
