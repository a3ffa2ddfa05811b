"""A fast parser for the command lines that docker, podman and those who watch containers send, without importing click.

click takes 40 ms of each call. Every other command line is left to click, and errors and help too. A test checks that
both parsers return the same.
"""

from __future__ import annotations

from scrun.grammar import COMMANDS, GLOBAL_OPTIONS, Call, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# run is here because everything that is imported when it forks the anchor stays in the anchor's memory.
HOT = ("create", "start", "state", "kill", "delete", "exec", "run", "pause", "resume", "list")


def parse(argv: Sequence[str]) -> Call | None:
    """Parse the words after the program's name; None if click must parse them."""
    global_options, rest = _options(GLOBAL_OPTIONS, argv)
    if global_options is None or not rest or rest[0] not in HOT:
        return None
    name, command = rest[0], COMMANDS[rest[0]]
    options, arguments = _options(command.options, rest[1:])
    least = len([word for word in command.arguments if not word.startswith("[")])
    most = len(arguments) if any("..." in word for word in command.arguments) else len(command.arguments)
    if options is None or not least <= len(arguments) <= most:
        return None
    if any(word.startswith("-") for word in arguments):
        return None
    return Call(name, global_options, options, tuple(arguments))


def _options(known: Sequence[Option], words: Sequence[str]) -> tuple[dict[str, Any] | None, Sequence[str]]:
    """The options at the beginning of the words, and the words after them; None for an unknown option."""
    values: dict[str, Any] = {
        option.name: () if option.repeats else None if option.metavar else False for option in known
    }
    position = 0
    while position < len(words) and words[position].startswith("-"):
        spelling, equals, value = words[position].partition("=")
        option = next((option for option in known if spelling in option.spellings), None)
        if not option or (equals and not spelling.startswith("--")):
            return None, ()
        if not option.metavar:
            if equals:
                return None, ()
            values[option.name] = True
        else:
            if not equals:
                position += 1
                if position == len(words):
                    return None, ()
                value = words[position]
            values[option.name] = (*values[option.name], value) if option.repeats else value
        position += 1
    return values, words[position:]
