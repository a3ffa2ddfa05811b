"""Fork the two processes that stay with a container: create's child is the stand-in, the stand-in's child the anchor.

In that order because of who reaps whom: when create has exited, the stand-in is left to the nearest subreaper (conmon,
containerd's shim), which waits for the pid that it read from the pid file. Each gets a session of its own, so that what
is meant for one process group (conmon's --timeout) doesn't end both.

The stand-in of a podman's container then begins anew as a child of itself, in a pid namespace (namespaces.py). The
anchor is no child of that one, so it stays outside, with srun and the workers.
"""

from __future__ import annotations

import gc
import os
import signal

from scrun.lifecycle.anchor import anchor
from scrun.lifecycle.container import log_crash
from scrun.lifecycle.node import overlap
from scrun.lifecycle.process import fork, installed, loop, wire
from scrun.lifecycle.standin import standin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

# What a terminal or a shell sends to create's process group; and what is seen where it is written.
_NOT_FOR_THE_ANCHOR = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_NOT_FOR_THE_ANCHOR |= {signal.SIGPIPE}


def spawn(container: Container) -> int:
    """Fork both; the result is create's end of its connection to the anchor.

    Call it early and with little imported: what is in memory now stays in memory as long as the container runs.
    """
    installed.hold()
    gc.freeze()  # what is shared with create's memory now is not written to by a collection, and so stays shared
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
    gc.enable()
    events = loop.Loop()
    anchor.Anchor(events, container, creator, to_standin, standin_pid)
    events.run()
    overlap.end_rest()
