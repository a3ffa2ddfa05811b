"""The result of a check: a status, a sentence, and an advice."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, BROKEN, UNCHECKED = "ok", "warning", "broken", "not checked"
STATUSES = (OK, WARNING, BROKEN, UNCHECKED)
_LONGEST = 300  # characters of a sentence, which may have a node's or a program's words


class Result(NamedTuple):
    """The result of a check; ``advice`` is empty if there is nothing to do."""

    status: str
    found: str
    advice: str = ""


class Finding(NamedTuple):
    """A result with the check's name and the host's."""

    check: str
    where: str
    status: str
    found: str
    advice: str


def ok(found: str) -> Result:
    """A result that is good."""
    return Result(OK, found)


def warning(found: str, advice: str) -> Result:
    """A result for a fault with which containers run, but slower, or not for everybody."""
    return Result(WARNING, found, advice)


def broken(found: str, advice: str) -> Result:
    """A result for a fault with which containers can't run, or an engine can't call scrun."""
    return Result(BROKEN, found, advice)


def unchecked(why: str) -> Result:
    """A result if the check can't be made, or has nothing to look at."""
    return Result(UNCHECKED, why)


def worst(results: list[Result]) -> Result:
    """Join several results into one: the worst status, and the sentences of all results with that status."""
    for status in (BROKEN, WARNING, OK, UNCHECKED):
        if alike := [result for result in results if result.status == status]:
            advice = "; ".join(dict.fromkeys(result.advice for result in alike if result.advice))
            return Result(status, "; ".join(result.found for result in alike), advice)
    return unchecked("nothing to look at")


def named(check: str, where: str, result: Result) -> Finding:
    """A finding from a result; its texts are printable and of bounded length."""
    return Finding(check, printable(where), result.status, printable(result.found), printable(result.advice))


def printable(text: str, longest: int = _LONGEST) -> str:
    """The text without control characters, which would steer a terminal, and cut if it is too long."""
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
