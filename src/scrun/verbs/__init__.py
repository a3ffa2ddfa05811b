"""One module for each command of the grammar: it takes the call apart, makes one call into lifecycle, and prints."""

from __future__ import annotations

import os

from scrun import identity
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.lifecycle.container import Container


def root(call: Call) -> str:
    """The directory of the containers."""
    return os.path.abspath(call.globals["root"] or identity.default_root())


def container(call: Call, *, load: bool = True) -> Container:
    """The container that is named.

    Raises:
        ScrunError: there is none, or it can't be read.
    """
    from scrun.lifecycle.container import Container

    return Container.open(root(call), call.arguments[0], load=load)


def ids(call: Call) -> list[str]:
    """The container that is named, or with --regex all that fit."""
    if not call.options["regex"]:
        return [call.arguments[0]]
    import re

    try:
        pattern = re.compile(call.arguments[0])
        return sorted(name for name in os.listdir(root(call)) if pattern.search(name))
    except re.error as error:
        raise UsageError(f"{call.arguments[0]!r} is no regular expression: {error}") from error
    except FileNotFoundError:
        return []
