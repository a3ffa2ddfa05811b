"""How many examples a property is tried with: `make check` tries a fifth of those that `make test` tries."""

from __future__ import annotations

import os

QUICK = bool(os.environ.get("SCRUN_QUICK_TESTS"))


def examples(number: int) -> int:
    """As many as that, or a fifth in a quick run."""
    return number // 5 if QUICK else number
