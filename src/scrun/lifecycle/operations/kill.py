"""kill: send a signal to the container's process (runtime-spec, runtime.md, Kill)."""

from __future__ import annotations

from scrun import front, signal
from scrun.digits import is_number
from scrun.errors import UsageError, WrongStatus
from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container


def send_signal(container: Container, number: int, *, is_for_all: bool = False) -> None:
    """Send a signal to a container.

    Args:
        container: the container.
        number: the signal's number.
        is_for_all: whether the signal is for all processes; then it is no error if the container has ended, as with
            ``kill --all`` of runc and crun.

    Raises:
        WrongStatus: the container is neither running nor created.
        NodeRuntimeError: the node's runtime can't be asked.
    """
    try:
        _send(container, number)
    except WrongStatus:
        if is_for_all:
            container.load()
        if not is_for_all or container.status() != status.STOPPED:
            raise


def _send(container: Container, number: int) -> None:
    can = front.is_asked() or status.can_kill(container.status())
    if can and ask(container, {"do": "kill", "signal": number}) is not None:
        return
    now = container.status()
    why = "its anchor is gone" if status.can_kill(now) else f"it is {now}"
    raise WrongStatus(f"cannot kill container {container.id!r}: container not running: {why}")


def signal_number(name: str) -> int:
    """The number of a signal that is named 15, TERM, SIGTERM or RTMIN+3 (kill(1)).

    Raises:
        UsageError: there is no such signal.
    """
    text = name.upper()
    if is_number(text) and int(text) < signal.NSIG:
        return int(text)
    text = text.removeprefix("SIG")
    named = signal.by_name(f"SIG{text}")
    if named is not None:
        return named
    base, sign, offset = text[:5], text[5:6], text[6:]
    if (base, sign) in (("RTMIN", "+"), ("RTMAX", "-")) and is_number(offset):
        number = signal.SIGRTMIN + int(offset) if sign == "+" else signal.SIGRTMAX - int(offset)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    raise UsageError(f"unknown signal {name!r}: use a number or a name, see kill -l")
