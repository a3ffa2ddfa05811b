"""What a container leaves while it lives, and must not leave when it is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from . import slurm
from .waiting import PATIENCE


def survey() -> set[str]:
    """Jobs, containers' directories and processes of the runtime, and everybody's directories, each in words."""
    return _jobs() | _directories() | _processes() | _places()


def assert_nothing_left(before: set[str]) -> set[str]:
    """Fail unless everything there is was there before; what there is."""
    deadline = time.monotonic() + PATIENCE
    while left := (now := survey()) - before:
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(sorted(left)))
        time.sleep(0.05)
    return now


def _jobs() -> set[str]:
    return {f"job {line}" for line in slurm.squeue("--format=%A %u %j")}


def _directories() -> set[str]:
    patterns = ("user/*/scrun", "user/*/scrun-tests", "scrun", "docker/runtime-*/moby")
    roots = [root for pattern in patterns for root in Path("/run").glob(pattern)]
    return {f"directory {path}" for root in roots if root.is_dir() for path in root.glob("[!.]*")}


def _places() -> set[str]:
    """With their modes: an agent that finds /tmp closed goes elsewhere, and later tests would try that only."""
    return {f"mode {os.stat(place).st_mode & 0o7777:o} of {place}" for place in ("/tmp", "/var/tmp", "/dev/shm")}


def _processes() -> set[str]:
    """Those of create and run (the anchor and the workers keep its command line), scrun-wait and what it has started
    again, srun, and what podman and docker have beside each container."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if (
            words[0].endswith(("/srun", "/conmon", "/containerd-shim-runc-v2"))
            or any(word.startswith("scrun: ") for word in words)
            or ({"create", "run"} & set(words) and any(word.endswith(("/scrun", "/crun")) for word in words))
        ):
            found.add(f"process {pid} {' '.join(words).strip()}")
    return found
