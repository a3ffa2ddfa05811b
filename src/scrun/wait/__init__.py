"""scrun-wait, in C: waits in the place of a Python process that has nothing to do (``main.c``).

A Python process executes it, so that it has the same pid, and hands over the descriptors that it needs. When something
is to be done, scrun-wait executes Python again, which goes on (``wake.py``). What that needs to know is in a file in
memory: nothing of it is in the command line or in the environment, which other programs can read.
"""

from __future__ import annotations

import os
import sys

from scrun import fastjson, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PROGRAM = os.path.join(os.path.dirname(__file__), "scrun-wait")  # compiled when scrun is built
QUIET = 10.0  # seconds without anything to do, after which a process waits so
NAME = "scrun"  # of a process for ps(1); at most 15 bytes (proc_pid_comm(5))
_WAKE = os.path.join(os.path.dirname(__file__), "wake.py")


class Busy(Exception):
    """Something is under way that a process can't leave to scrun-wait; ``args[0]`` says what."""


class Kept:
    """The descriptors of what is kept: called with one, it returns the same."""

    def __init__(self) -> None:
        self.descriptors: set[int] = set()

    def __call__(self, descriptor: int) -> int:
        if descriptor >= 0:
            self.descriptors.add(descriptor)
        return descriptor


def check(is_at_rest: object, what: str) -> None:
    """Do nothing if something is at rest.

    Raises:
        Busy: it isn't.
    """
    if not is_at_rest:
        raise Busy(what)


def become(
    words: Sequence[str],
    module: str,
    state: Mapping[str, object],
    *,
    keep: Iterable[int],
    title: str,
    name: str = NAME,
    is_quiet: Callable[[], bool] = lambda: True,
) -> None:
    """Have scrun-wait wait in the place of this process. This returns only where that can't be done.

    Args:
        words: what scrun-wait is to wait for (``main.c``), without Python's command line.
        module: the module whose ``wake(state)`` goes on then, with all signals blocked.
        state: what it needs to know.
        keep: the descriptors that it needs; the others close.
        title: the process's command line meanwhile, for ps(1).
        name: the process's name meanwhile.
        is_quiet: whether still nothing is to be done, asked when all signals are blocked.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # what came before is handled by now
    descriptor = -1
    kept = {*keep}
    try:
        descriptor = os.memfd_create("scrun", 0)
        whole = {"module": module, "path": sys.path, "state": state}
        os.write(descriptor, fastjson.dumps(whole).encode("ascii"))
        for one in kept:
            os.set_inheritable(one, True)
        python = os.readlink("/proc/self/exe")  # not a link to it, which may lead to another one by then
        if os.access(python, os.X_OK) and is_quiet():
            os.execv(PROGRAM, [title, name, *words, python, "-IS", _WAKE, str(descriptor), title])
    except OSError:
        pass
    if descriptor >= 0:
        os.close(descriptor)
    own(kept)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def own(descriptors: Iterable[int]) -> None:
    """Have no program that is executed get these descriptors; standard input, output and error are for all."""
    for one in descriptors:
        if one > 2:
            os.set_inheritable(one, False)
