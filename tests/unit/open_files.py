"""The descriptors of the process that runs the tests."""

from __future__ import annotations

import gc
import os


def descriptors() -> list[str]:
    """Those that are open, without what only the collector has still to close: another test may have left that."""
    gc.collect()
    return os.listdir("/proc/self/fd")
