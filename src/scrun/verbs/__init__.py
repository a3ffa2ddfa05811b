"""One module for each command: it takes the command line's options, makes one call into lifecycle, and prints.

The work itself is in :mod:`scrun.lifecycle.operations`, which knows no options and prints nothing.
"""

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
    """The directory of the containers: --root, or the default."""
    return os.path.abspath(call.globals["root"] or identity.default_root())


def container(call: Call, *, anybodys: bool = False) -> Container:
    """Open the container that the call names.

    Args:
        call: the call.
        anybodys: whether the container may be another user's, because it is only looked at.

    Raises:
        ScrunError: there is no such container, or its record can't be read.
    """
    from scrun.lifecycle.container.directory import Container

    return Container.open(root(call), call.arguments[0], anybodys=anybodys)


def each(call: Call, logger: Log, act: Callable[[str], None]) -> None:
    """Call ``act`` with the container's id, or with --regex with each id that matches; go on after an error.

    Raises:
        ScrunError: the last error; errors before it are logged.
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
    """The value of --format: table or json.

    Raises:
        UsageError: it is another one.
    """
    named: str = call.options["format"] or "table"
    if named not in ("table", "json"):
        raise UsageError(f"format {named!r} is unknown: use table or json")
    return named
