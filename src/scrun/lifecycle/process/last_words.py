"""What a child printed before it ended without an answer, for a person."""

from __future__ import annotations


def last_words(printed: str, otherwise: str) -> str:
    """The last line of what a process printed, for a person: libslurm ends its process with a line of its own."""
    lines = printed.splitlines()
    if not lines:
        return otherwise
    _program, fatal, words = lines[-1].partition("fatal: ")
    return f"Slurm: {words}" if fatal else lines[-1]
