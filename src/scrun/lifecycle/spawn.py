"""Fork the two processes that stay with a container: create's child is the stand-in, the stand-in's child the anchor.

The order matters. When create has exited, the nearest subreaper (conmon, containerd's shim) gets the stand-in as its
child, and waits for the pid that it reads from the pid file. Each of the two gets a session of its own, so that a
signal to one process group (conmon's --timeout) doesn't end both.

For podman the stand-in then goes on as a child of itself, in a new pid namespace (namespaces.py). The anchor is no
child of that child, so it stays outside, with srun and the workers.
"""

from __future__ import annotations

import gc
import os

from scrun import signal, wait
from scrun.lifecycle.container import log_crash
from scrun.lifecycle.process import fork, installed, loop, wire
from scrun.lifecycle.standin import standin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

# Signals that a terminal or a shell sends to create's process group; and SIGPIPE, because each write shows the error.
_NOT_FOR_THE_ANCHOR = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_NOT_FOR_THE_ANCHOR |= {signal.SIGPIPE}


def spawn(container: Container) -> int:
    """Fork the stand-in and the anchor; return create's end of its connection to the anchor.

    Call this early, with little imported, because what is in memory now stays there as long as the container runs.

    Raises:
        OSError: there can be no other process.
    """
    installed.hold()
    gc.freeze()  # so that no garbage collection writes to the memory that is shared with create
    creator, to_creator = wire.pair()
    fork.child(lambda: _be_standin(container, to_creator), session=True, failed=lambda: log_crash.write(container))
    os.close(to_creator)
    return creator


def _be_standin(container: Container, to_creator: int) -> int:
    os.chdir("/")
    to_anchor, to_standin = wire.pair()
    pid = os.getpid()
    anchor_pid = fork.child(
        lambda: _be_anchor(container, to_creator, to_standin, pid),
        keep=(to_creator, to_standin, container.descriptor),
        session=True,
        ignored=_NOT_FOR_THE_ANCHOR,
        failed=lambda: log_crash.write(container),
    )
    fork.keep_only((fork.QUIET,) * 3, (to_anchor, container.descriptor))
    return standin.run(to_anchor, container, anchor_pid)


def _be_anchor(container: Container, creator: int, to_standin: int, standin_pid: int) -> None:
    # Only now: neither create, which goes on meanwhile, nor the stand-in needs its modules. The worker begins first,
    # because what it imports takes longest.
    from scrun.lifecycle.anchor import preparation

    events = loop.Loop()
    preparing = preparation.begin_worker(events, container)

    from scrun.lifecycle.anchor import anchor

    gc.freeze()
    gc.enable()
    made = anchor.Anchor(events, container, creator, to_standin, standin_pid, preparing)

    def fall_asleep() -> None:
        from scrun.lifecycle.anchor import sleep

        sleep.fall_asleep(made)

    if fork.kept_open:  # else scrun may have been removed by then, and the import would end the anchor
        events.when_quiet(wait.QUIET, fall_asleep)
    events.run()
