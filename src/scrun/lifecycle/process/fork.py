"""The one way in which scrun makes another process of itself.

What was open, blocked or handled in the process that forks is not for the one that is forked: :func:`child` says what
the new process keeps, and sees to it that the code of the old one never runs on in it.
"""

from __future__ import annotations

import fcntl
import os

from scrun import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

QUIET = -1
"""In the place of a descriptor for standard input, output or error: /dev/null."""

kept_open: set[int] = set()  # descriptors that all of our processes keep, and no program that they execute


def child(
    run: Callable[[], int | None],
    *,
    stdio: Sequence[int] = (),
    keep: Iterable[int] | None = None,
    session: bool = False,
    group: bool = False,
    default: Iterable[int] = (),
    ignored: Iterable[int] = (),
    failed: Callable[[], None] | None = None,
) -> int:
    """Fork; the child calls ``run``, and exits with the status that it returns (None: 0). The result is its pid.

    Args:
        run: what the child does; it may execute a program.
        stdio: descriptors that become standard input, output and error, and what is behind these (3, 4, …); without
            any, all stay as they are.
        keep: descriptors that stay open beside these, and :data:`kept_open`; None: all do.
        session, group: whether the child leads a new session, or a new process group.
        default, ignored: the numbers of signals that it no longer handles, and that it ignores.
        failed: called in the child for whatever exception ``run`` raises; the exit status is 1 then.

    Raises:
        OSError: there can be no other process.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if session:
            os.setsid()
        if group:
            os.setpgid(0, 0)
        keep_only(stdio, keep)
        signal.set_wakeup_fd(-1)  # a loop's, of the process that has forked
        for number in default:
            signal.signal(number, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        status = run() or 0
    except BaseException:
        if failed:
            failed()
    finally:
        os._exit(status)


def left_alone(
    run: Callable[[], int | None],
    *,
    stdio: Sequence[int] = (),
    keep: Iterable[int] | None = None,
    session: bool = False,
    default: Iterable[int] = (),
    ignored: Iterable[int] = (),
    failed: Callable[[], None] | None = None,
) -> None:
    """:func:`child`, for a process that is nobody's child: init, or the nearest subreaper, waits for it."""

    def fork() -> None:
        child(run, stdio=stdio, keep=keep, session=session, default=default, ignored=ignored, failed=failed)

    os.waitpid(child(fork), 0)


def execute(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Become srun, for :func:`child`; the result is the exit status of a process that can't, which says so: 127."""
    try:
        os.execve(argv[0], list(argv), environment)
    except OSError as error:
        os.write(2, f"srun: fatal: can't execute {argv[0]}: {error.strerror}\n".encode())
        return 127


def keep_only(stdio: Sequence[int], keep: Iterable[int] | None) -> None:
    """Have no other descriptors in this process from here on; for what these are see :func:`child`."""
    if stdio:
        _become_stdio(stdio)
    if keep is not None:
        close_all_but(*range(max(3, len(stdio))), *keep)


def close_all_but(*kept: int) -> None:
    """Close every descriptor of the process but these, and :data:`kept_open`."""
    start = 0
    for descriptor in sorted(kept_open.union(kept)):
        if start < descriptor:  # an empty range from 0 is taken for all there are
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _become_stdio(descriptors: Sequence[int]) -> None:
    # Above all of them first: one may be what another is to become.
    quiet = fcntl.fcntl(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), fcntl.F_DUPFD_CLOEXEC, 10)
    high = [fcntl.fcntl(quiet if one == QUIET else one, fcntl.F_DUPFD_CLOEXEC, 10) for one in descriptors]
    for target, descriptor in enumerate(high):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.close(quiet)
