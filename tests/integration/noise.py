"""What the profile noisy prints in every task (devcluster/profiles/noisy), taken out of what tests compare."""

from __future__ import annotations

import re
from pathlib import Path

PROFILES = Path("/etc/slurm/profiles")  # written by devcluster/lib/profiles.sh

# slurmstepd (26.05) prints a zero byte behind a TaskProlog's last line where that has no end.
_NOISE = re.compile(rb"<<noise:[^\n]*?(:noise-line>>\r?\n|:noise>>\0?)")
_IS_NOISY = PROFILES.exists() and "noisy" in PROFILES.read_text().split()


def without(data: bytes) -> bytes:
    """What a program said, without the site's words; unchanged on a cluster that isn't noisy."""
    return _NOISE.sub(b"", data) if _IS_NOISY else data
