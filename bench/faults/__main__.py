"""Try every fault: `make faults`, on the cluster's login host as root.

    python -m faults [PATTERN…]    only the cells whose name FAULT/WHEN/WHO one of the patterns is in, or matches

RESUME=1 goes on where the last run ended.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
from pathlib import Path

from . import cluster_faults, process_faults
from .report import Cell, Report
from .scene import KINDS

RESULTS = Path("/var/tmp/scrun-faults.jsonl")  # noqa: S108


def wanted(name: str, patterns: list[str]) -> bool:
    """Whether a cell was asked for."""
    return not patterns or any(fnmatch.fnmatch(name, f"*{pattern}*") for pattern in patterns)


def main() -> int:
    """The program; its exit status says whether all is as it should be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is in the making is cleaned up
    report = Report(RESULTS, bool(os.environ.get("RESUME")))
    began = time.monotonic()
    for make in (process_faults.cells, cluster_faults.cells):
        for name, carry_out in make():
            if wanted(name, sys.argv[1:]) and not report.has(name):
                try:
                    made = carry_out()
                except Exception as error:  # what fails here says nothing about the other cells
                    made = Cell(name, left={kind: [] for kind in KINDS}, wrong=[f"could not be made: {error!r}"])
                for one in made if isinstance(made, list) else [made]:
                    report.add(one)
    print(f"\n{report.table()}\n\n{time.monotonic() - began:.0f} s")
    return any(not cell.good for cell in report.cells)


if __name__ == "__main__":
    sys.exit(main())
