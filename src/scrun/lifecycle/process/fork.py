"""What every process that scrun forks does with the descriptors that it was forked with."""

from __future__ import annotations

import os

kept_open: set[int] = set()  # descriptors that all of our processes keep, and no program that they execute


def close_all_but(*kept: int) -> None:
    """Close every descriptor of the process but these, and :data:`kept_open`."""
    start = 0
    for descriptor in sorted(kept_open.union(kept)):
        if start < descriptor:  # an empty range from 0 is taken for all there are
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
