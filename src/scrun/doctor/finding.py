"""What a check has found: a status, a sentence, and what to do."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, BROKEN, UNCHECKED = "ok", "warning", "broken", "not checked"
STATUSES = (OK, WARNING, BROKEN, UNCHECKED)
_LONGEST = 300  # characters of a sentence; what a node or a program says is cut there


class Result(NamedTuple):
    """What one check answers. ``advice`` is empty where there is nothing to do."""

    status: str
    found: str
    advice: str = ""


class Finding(NamedTuple):
    """A result with the check's name, and the host that it is of."""

    check: str
    where: str
    status: str
    found: str
    advice: str


def ok(found: str) -> Result:
    """All is well."""
    return Result(OK, found)


def warning(found: str, advice: str) -> Result:
    """Containers run, but something is slower, or will fail for somebody."""
    return Result(WARNING, found, advice)


def broken(found: str, advice: str) -> Result:
    """Containers can't run, or an engine can't reach scrun."""
    return Result(BROKEN, found, advice)


def unchecked(why: str) -> Result:
    """The check could not be made, or has nothing to look at here."""
    return Result(UNCHECKED, why)


def worst(results: list[Result]) -> Result:
    """One result for several: the worst status with all that was found of it; all that is well, where all is."""
    for status in (BROKEN, WARNING, OK, UNCHECKED):
        if alike := [result for result in results if result.status == status]:
            advice = "; ".join(dict.fromkeys(result.advice for result in alike if result.advice))
            return Result(status, "; ".join(result.found for result in alike), advice)
    return unchecked("nothing to look at")


def named(check: str, where: str, result: Result) -> Finding:
    """The result as a line of the report: printable, and of bounded length."""
    return Finding(check, printable(where), result.status, printable(result.found), printable(result.advice))


def printable(text: str, longest: int = _LONGEST) -> str:
    """The text without control characters, so that no node or file steers a terminal; cut where it is too long."""
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
