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
from scrun.lifecycle.process import installed, loop, wire
from scrun.lifecycle.process.fork import close_all_but
from scrun.lifecycle.standin import standin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeVarTuple

    from scrun.lifecycle.container.directory import Container

    Rest = TypeVarTuple("Rest")


def spawn(container: Container) -> int:
    """Fork both; the result is create's end of its connection to the anchor.

    Call it early and with little imported: what is in memory now stays in memory as long as the container runs.
    """
    installed.hold()
    gc.freeze()  # what is shared with create's memory now is not written to by a collection, and so stays shared
    creator, to_creator = wire.pair()
    if not os.fork():
        _run(container, _be_standin, to_creator)
    os.close(to_creator)
    return creator


def _be_standin(container: Container, to_creator: int) -> int:
    to_anchor, to_standin = wire.pair()
    pid = os.getpid()
    anchor_pid = os.fork()
    if not anchor_pid:
        _run(container, _be_anchor, to_creator, to_standin, pid)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    close_all_but(0, 1, 2, to_anchor, container.descriptor)
    return standin.run(to_anchor, container, anchor_pid)


def _be_anchor(container: Container, creator: int, to_standin: int, standin_pid: int) -> int:
    close_all_but(0, 1, 2, creator, to_standin, container.descriptor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # what a terminal or a shell sends to create's group isn't for the anchor
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.enable()
    events = loop.Loop()
    anchor.Anchor(events, container, creator, to_standin, standin_pid)
    events.run()
    overlap.end_rest()
    return 0


def _run(container: Container, role: Callable[[Container, *Rest], int], *args: *Rest) -> NoReturn:
    """Be that process, and never come back into create's code."""
    status = 1
    try:
        os.setsid()
        os.chdir("/")
        status = role(container, *args)
    except BaseException:  # there is nobody to show it to: the log is the only place
        log_crash.write(container)
    finally:
        os._exit(status)
