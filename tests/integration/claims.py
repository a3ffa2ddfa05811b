"""Several runs of the tests at once, each on a cluster of its own: a file of tests is run by whoever claims it first.

All inherit one descriptor of a file, which holds a byte for each claimed file of tests (see ./run).
"""

from __future__ import annotations

import fcntl
import os

VARIABLE = "SCRUN_TESTS_CLAIMS"
_GUARD = 1 << 30  # the offset of the byte that is locked meanwhile


class Claims:
    """What this run has claimed; everything, when it is alone."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._known: dict[str, bool] = {}

    @classmethod
    def inherited(cls) -> Claims:
        """Those that the environment names."""
        number = os.environ.get(VARIABLE)
        return cls(int(number) if number else None)

    @property
    def are_shared(self) -> bool:
        """Whether there are other runs."""
        return self._descriptor is not None

    def is_ours(self, name: str) -> bool:
        """Whether that file of tests is for this run; all must ask for the same files in the same order."""
        if self._descriptor is None:
            return True
        if name not in self._known:
            self._known[name] = self._claim(len(self._known))
        return self._known[name]

    def _claim(self, number: int) -> bool:
        assert self._descriptor is not None
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, _GUARD)
        try:
            if os.pread(self._descriptor, 1, number) == b"x":
                return False
            os.pwrite(self._descriptor, b"x", number)
            return True
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _GUARD)
