"""A container's variables, kept from the programs that a site or a caller has slurmstepd run around each task.

slurmstepd adds the environment of config.json to its task's own, and TaskProlog and TaskEpilog, which run on the node
itself, get all of it: LD_PRELOAD or BASH_ENV of an image would run what the image names, as root under root's docker.
So where there are such programs the variables come by a task prolog of ours: it runs after the site's, and what it
prints (srun(1), --task-prolog) becomes the environment of the container's process, and of nothing else.
"""

from __future__ import annotations

from scrun.bundle.arguments import quoted

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Config = dict[str, Any]

# What a shell sets for itself: whether it was there before can't be told.
_SHELLS_OWN = ("IFS", "OLDPWD", "OPTIND", "PATH", "PPID", "PS1", "PS2", "PS4", "PWD", "SHLVL", "_")
# A prolog prints lines. What has several stays in config.json, unless an interpreter or the loader might obey it.
_OBEYED = (
    *("BASH", "ENV", "GCONV", "GLIBC", "IFS", "LD_", "LMOD", "LUA", "MODULE", "NODE", "PATH", "PERL", "PS4"),
    *("PYTHON", "RUBY", "SHELLOPTS", "SLURM", "TCL"),
)


def take(config: Config) -> tuple[list[str], list[str]]:
    """Take the variables out of the config: what is to be given to the process, and names of what can't be."""
    entries = config["process"].get("env", [])
    given = [entry for entry in entries if "\n" not in entry]
    left = [entry for entry in entries if "\n" in entry and _is_harmless(entry.partition("=")[0])]
    config["process"]["env"] = left
    lost = [entry.partition("=")[0] for entry in entries if "\n" in entry and entry not in left]
    return given, lost


def prolog(entries: Sequence[str], then: str) -> bytes:
    """The task prolog that gives them; ``then`` is the caller's own, which has the last word.

    What Slurm or the site's prolog has set is not changed, as it isn't where slurmstepd adds config.json's environment.
    """
    lines = ["#!/bin/sh"]
    for entry in entries:
        name = entry.partition("=")[0]
        unless = f'[ "${{{name}+x}}" ] || ' if _is_name(name) and name not in _SHELLS_OWN else ""
        lines.append(f"{unless}printf '%s\\n' {quoted(f'export {entry}')}")
    lines.append(f"exec {quoted(then)}" if then else "exit 0")
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _is_harmless(name: str) -> bool:
    return _is_name(name) and not name.startswith(_OBEYED)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()
