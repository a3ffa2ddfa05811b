"""The programs that scrun runs on a host and on nodes, and their least versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scrun.doctor.finding import broken, ok, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.doctor.finding import Result

# Least versions (etc/scrun.lua): GNU tar 1.29, coreutils 8.25 for `comm -z`. Empty: any.
HERE = {"tar": "1.29", "stat": "8.25"}
NODE = {"tar": "1.29", "stat": "8.25", "find": "", "base64": "", "sed": ""}
# Without these a node keeps no images, or can't pause a container that has no cgroup.
WANTED = {"bash": "", "flock": "", "unshare": "", "nsenter": "", "timeout": ""}
ABSENT = "-"
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def version(said: str) -> str:
    """The version in the first line that a program's ``--version`` prints.

    It is ABSENT for ABSENT, empty if the line has no version, and 0.0 for programs of BusyBox, which lack options.
    """
    first = said.strip().splitlines()[0] if said.strip() else ""
    if "BusyBox" in first:
        return "0.0"
    number = _VERSION.search(first)
    return ABSENT if first == ABSENT else number[0] if number else ""


def judge(there: Mapping[str, str], needed: Mapping[str, str], wanted: Mapping[str, str] | None = None) -> Result:
    """Judge the versions of programs.

    Args:
        there: the version of each program (:func:`version`).
        needed: the least versions of programs without which no files can be carried.
        wanted: programs without which images are carried for each container anew.
    """
    lacking = [name for name in needed if there.get(name, ABSENT) == ABSENT]
    old = [f"{name} {there[name]}" for name, least in needed.items() if name in there and is_older(there[name], least)]
    if lacking or old:
        wrong = [f"no {name}" for name in lacking] + [f"{one}, which is too old" for one in old]
        return broken(
            ", ".join(wrong), "install GNU tar 1.29, coreutils 8.25, findutils or later: files can't be carried"
        )
    absent = [name for name in wanted or () if there.get(name, ABSENT) == ABSENT]
    if absent:
        return warning(
            f"no {', no '.join(absent)}", "install bash and util-linux: images are carried for each container anew"
        )
    return ok(", ".join(f"{name} {there[name]}" for name, least in needed.items() if least))


def is_older(one: str, least: str) -> bool:
    """Whether version ``one`` is before ``least``; False if it isn't known."""
    if not (least and _VERSION.fullmatch(one)):
        return False
    return [int(part) for part in one.split(".")] < [int(part) for part in least.split(".")]
