"""Leave the anchor's wait to scrun-wait, and go on after it.

An anchor whose container runs, and with which nothing is under way, needs none of its memory: scrun-wait holds its
descriptors, and starts Python again for whatever comes. What the anchor knows is kept meanwhile (:meth:`.Anchor.keep`).
"""

from __future__ import annotations

import os
import time

from scrun import signal, wait
from scrun.lifecycle.anchor.anchor import Anchor
from scrun.lifecycle.container import log_crash
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork, loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from scrun.lifecycle.anchor.anchor import AnchorState

    class State(TypedDict):
        """What a sleeping anchor needs to know."""

        root: str
        id: str
        descriptor: int  # the container's directory
        kept_open: list[int]
        descriptors: list[int]
        anchor: AnchorState
        quiet: float  # seconds without anything to do, after which it slept
        since: float  # time.monotonic()


_LONG = 60.0  # seconds of a sleep that was worth the start of a Python
_LONGEST_QUIET = 320.0  # seconds
# Signals whose default is that nothing happens.
_HARMLESS = {signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}


def fall_asleep(anchor: Anchor, quiet: float = wait.QUIET) -> None:
    """Have scrun-wait wait; this returns only where something is under way, or where that can't be done.

    Args:
        anchor: what has nothing to do.
        quiet: seconds without anything to do.
    """
    kept, container = wait.Kept(), anchor.container
    if not fork.kept_open:  # then an upgrade may replace the modules, and what wakes up is of another version
        return
    try:
        state = anchor.keep(kept)
    except wait.Busy:
        return
    for one in (0, 1, 2, container.descriptor, *fork.kept_open):  # so that nothing else gets one of the lowest three
        kept(one)
    events = ",".join(f"{descriptor}:{events}" for descriptor, events in state["events"].items())
    ignored = {number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN}
    signals = sum(1 << number - 1 for number in signal.valid_signals() - ignored - _HARMLESS)
    whole: State = {
        "root": os.path.dirname(container.path),
        "id": container.id,
        "descriptor": container.descriptor,
        "kept_open": [*fork.kept_open],
        "descriptors": sorted(kept.descriptors),
        "anchor": {**state, "events": {}},
        "quiet": quiet,
        "since": time.monotonic(),
    }
    wait.become(
        ["events", events, str(signals)],
        __name__,
        whole,
        keep=kept.descriptors,
        title=f"scrun: anchor of {container.id}",
        is_quiet=anchor.loop.is_quiet,
    )


def wake(state: State) -> int:
    """Go on as the anchor after scrun-wait."""
    container = Container(state["root"], state["id"], state["descriptor"])
    try:
        wait.own(state["descriptors"])
        fork.kept_open.update(state["kept_open"])
        container.record = state["anchor"]["record"]
        events = loop.Loop()
        anchor = Anchor(events, container, -1, state["anchor"]["standin"], 0, kept=state["anchor"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        if anchor.nodes:
            anchor.nodes.connection.read_on()
        # What wakes up again and again stays awake for longer: it costs memory then, and no processor time.
        has_slept_long = time.monotonic() - state["since"] > _LONG
        quiet = wait.QUIET if has_slept_long else min(2 * state["quiet"], _LONGEST_QUIET)
        events.when_quiet(quiet, lambda: fall_asleep(anchor, quiet))
        events.run()
    except BaseException:
        log_crash.write(container)
        raise
    return 0
