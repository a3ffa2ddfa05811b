"""One module for each command of the grammar: it takes the call apart, makes one call into lifecycle, and prints."""

from __future__ import annotations

import os

from scrun import identity
from scrun.errors import ScrunError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.grammar import Call
    from scrun.lifecycle.container.directory import Container
    from scrun.log import Log


def root(call: Call) -> str:
    """The directory of the containers."""
    return os.path.abspath(call.globals["root"] or identity.default_root())


def container(call: Call, *, anybodys: bool = False) -> Container:
    """The container that is named; another user's too, where it is only looked at.

    Raises:
        ScrunError: there is none, or it can't be read.
    """
    from scrun.lifecycle.container.directory import Container

    return Container.open(root(call), call.arguments[0], anybodys=anybodys)


def each(call: Call, logger: Log, act: Callable[[str], None]) -> None:
    """Act on the id that is named, or with --regex on all that fit, and on the others too when it fails for one.

    Raises:
        ScrunError: the last failure; those before it are logged.
    """
    failure: ScrunError | None = None
    for container_id in _ids(call):
        try:
            act(container_id)
        except ScrunError as error:
            if failure:
                logger.say("error", str(failure))
            failure = error
    if failure:
        raise failure


def _ids(call: Call) -> list[str]:
    if not call.options["regex"]:
        return [call.arguments[0]]
    import re

    try:
        pattern = re.compile(call.arguments[0])
    except re.error as error:
        raise UsageError(f"{call.arguments[0]!r} is no regular expression: {error}") from error
    try:
        names = os.listdir(root(call))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ScrunError(f"can't read {root(call)}: {error.strerror}") from error
    return sorted(name for name in names if pattern.search(name) and identity.is_valid_id(name))


def form(call: Call) -> str:
    """What --format says: table or json.

    Raises:
        UsageError: it says something else.
    """
    named: str = call.options["format"] or "table"
    if named not in ("table", "json"):
        raise UsageError(f"format {named!r} is unknown: use table or json")
    return named
