"""Numbers in a text from outside: int(3) reads more than a number, and refuses 4300 digits with an error of its own."""

from __future__ import annotations

_MOST = 18  # digits, so that the number fits 64 bits


def is_number(text: str) -> bool:
    """Whether the text is a whole number from 0, in ASCII, without a sign."""
    return text.isascii() and text.isdigit() and len(text) <= _MOST
