"""Options of runc and crun that can't have an effect on another host; a warning names what is lost."""

from __future__ import annotations

import os

from scrun.digits import is_number
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from scrun.log import Log

# Options whose lack of effect nobody can notice, or whose effect the node's runtime decides.
_HARMLESS = ("no_pivot", "no_new_keyring", "no_subreaper", "cgroup")
_LOST = {
    "pidfd_socket": "no pidfd is sent there, since the process is on another host",
    "process_label": "the node knows no label of this host, and the process has none",
    "apparmor": "the node knows no profile of this host, and the process has none",
}


def names() -> Sequence[str]:
    """The names of the options that :func:`warn` handles."""
    return (*_HARMLESS, *_LOST, "preserve_fds")


def warn(options: Mapping[str, Any], environment: Mapping[str, str], log: Log) -> None:
    """Warn about each option that has no effect.

    Raises:
        UsageError: the value of --preserve-fds isn't a number.
    """
    for name in _HARMLESS:
        if options.get(name):
            log.debug(f"{_called(name)} has no meaning for a container on another host")
    for name, why in _LOST.items():
        if options.get(name):
            log.warn(f"{_called(name)} has no effect: {why}")
    if number := _descriptors(options.get("preserve_fds") or "0"):
        log.warn(
            f"--preserve-fds {number} has no effect: the container runs on another host, which no descriptor reaches"
        )
    # systemd's protocol (sd_listen_fds(3)): LISTEN_PID tells for which process the sockets are.
    if _is_for_us(environment):
        log.warn("LISTEN_FDS has no effect: the container runs on another host, which no socket of this one reaches")


def _called(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _descriptors(text: str) -> int:
    if not is_number(text):
        raise UsageError(f"--preserve-fds {text!r} is not a number of descriptors")
    return int(text)


def _is_for_us(environment: Mapping[str, str]) -> bool:
    number, pid = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    return is_number(number) and int(number) > 0 and pid in ("", str(os.getpid()))
