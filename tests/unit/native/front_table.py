"""Make scrun-front's table of options from grammar.py; a test holds the two together.

::

    PYTHONPATH=src:tests/unit python -m native.front_table >src/scrun/front/table.c
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import scrun
from scrun import grammar
from scrun.lifecycle.container import record

VERBS = ("state", "start", "kill", "delete")
# What scrun-front does with an option, by its name; all that isn't here, and has an effect, is Python's.
MEANINGS = {"root": "ROOT", "log": "LOG", "log_format": "LOG_FORMAT", "all": "ALL", "force": "FORCE"}


def _meaning(option: grammar.Option) -> str:
    return MEANINGS.get(option.name, "IGNORED" if option.help == grammar._IGNORED else "PYTHONS")


def _rows(options: Sequence[grammar.Option]) -> Iterator[str]:
    for option in options:
        for spelling in option.spellings:
            yield f'{{"{spelling}", {_meaning(option)}, {int(bool(option.metavar))}}}'
    yield "{0}"


def _table(type_: str, name: str, rows: Iterator[str] | Sequence[str]) -> str:
    lines = "".join(f"    {row},\n" for row in rows)
    return f"{type_} {name}[] = {{\n{lines}}};\n"


def _command(name: str) -> str:
    arguments = grammar.COMMANDS[name].arguments
    least = len([word for word in arguments if not word.startswith("[")])
    return f'{{"{name}", {least}, {len(arguments)}, {name}_options}}'


def _signals() -> dict[str, int]:
    """The signals that have one number everywhere; which are real-time signals is the C library's to say."""
    members = signal.Signals.__members__.items()
    return {name.removeprefix("SIG"): int(number) for name, number in members if number < signal.SIGRTMIN}


def text() -> str:
    """The file."""
    parts = ['/* Made by tests/unit/native/front_table.py from grammar.py. */\n#include "front.h"\n']
    parts += [_table("const struct option", "global_options", _rows(grammar.GLOBAL_OPTIONS))]
    parts += [
        _table("static const struct option", f"{name}_options", _rows(grammar.COMMANDS[name].options)) for name in VERBS
    ]
    parts += [_table("const struct command", "commands", [*map(_command, VERBS), "{0}"])]
    rows = [f'{{"{name}", {number}}}' for name, number in sorted(_signals().items())]
    parts += [_table("const struct signal_name", "signal_names", [*rows, "{0}"])]
    parts += [
        f"const long signals = {signal.NSIG};\n"
        f"const uint64_t record_version = {record.VERSION};\n"
        f'const char oci_version[] = "{scrun.OCI_VERSION}";\n'
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(text(), end="")
