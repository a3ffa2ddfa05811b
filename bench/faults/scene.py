"""What there is of containers on login and on the nodes, and how to be rid of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from integration import slurm

ROOTS = ("/run/user/*/scrun", "/run/scrun", "/run/docker/runtime-*/moby")
KINDS = ("jobs", "processes", "records")
GRACE = 20.0  # seconds for what ends by itself
_OURS = re.compile(r"scrun|/srun|conmon|containerd-shim")
_CONTAINER_STATES = "/run/user/*/crun/*.*.*"

Left = dict[str, list[str]]


def survey() -> Left:
    """The jobs, processes and records that there are; the container's processes on the nodes are their jobs'."""
    jobs = [f"{line} ({state})" for line, state in _jobs().items()]
    records = [str(path) for path in record_directories()]
    return {"jobs": jobs, "processes": [*processes_here(), *processes_on_nodes()], "records": records}


def left_since(before: Left, grace: float = GRACE) -> Left:
    """What is there and wasn't before, once that is nothing or ``grace`` has passed."""
    until = time.monotonic() + grace
    while True:
        now = survey()
        left = {kind: [one for one in now[kind] if one not in before[kind]] for kind in KINDS}
        if not any(left.values()) or time.monotonic() > until:
            return left
        time.sleep(0.5)


def new_jobs(before: Left) -> set[int]:
    """The jobs that weren't there before and haven't ended."""
    known = {int(line.split()[0]) for line in before["jobs"]}
    return {job for job, state in _jobs().items() if job not in known and state != "COMPLETING"}


def record_directories() -> list[Path]:
    """The containers' directories, of every user and engine."""
    return [path for pattern in ROOTS for path in Path("/").glob(f"{pattern[1:]}/[!.]*") if path.is_dir()]


def record(directory: Path) -> dict[str, Any]:
    """A container's record; empty before there is one."""
    try:
        document: dict[str, Any] = json.loads((directory / "state.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return document


def command_lines() -> dict[int, str]:
    """Every process of this host's, but this program's own."""
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if line and pid != os.getpid():
            found[pid] = line
    return found


def processes_here() -> list[str]:
    """The runtime's, srun's and the engines' processes for one container."""
    return [f"login: {pid} {line[:120]}" for pid, line in command_lines().items() if _OURS.search(line)]


def processes_on_nodes() -> list[str]:
    """The containers' processes on the nodes, by the mark that each has; and what crun knows of them."""
    script = (
        'for p in /proc/[0-9]*; do grep -qa "faults-mar[k]" $p/cmdline 2>/dev/null && '
        'echo "$SLURMD_NODENAME: ${p#/proc/} $(tr "\\0" " " <$p/cmdline | cut -c1-80)"; done; '
        f'for c in {_CONTAINER_STATES}; do [ ! -e "$c" ] || echo "$SLURMD_NODENAME: crun knows ${{c##*/}}"; done; :'
    )
    done = _on_nodes(script)
    if done.returncode:
        return [f"nodes: could not be asked: {done.stderr.strip()[:100]}"]
    return sorted(done.stdout.splitlines())


def kept_on_nodes(job: int, size: int) -> list[str]:
    """The directories on the nodes with the file that a container of that job wrote."""
    where = f"/tmp/scrun-*/*{job}-* /var/tmp/scrun-*/*{job}-*"  # noqa: S108
    script = f'find {where} -name big -size {size}c -printf "$SLURMD_NODENAME:%h\\n" 2>/dev/null; :'
    return slurm.on_nodes(script)


def forget_kept(job: int) -> None:
    """Remove them."""
    slurm.on_nodes(f"rm -rf /tmp/scrun-*/kept-{job}-*; :")


def clean(before: Left) -> None:
    """End and remove whatever one cell has left, for the next one."""
    for job in new_jobs(before):
        subprocess.run(["scancel", str(job)], check=False, timeout=30)
    left = {line for line in processes_here() if line not in before["processes"]}
    for line in left:
        if "slurmctld" not in line:
            _kill(int(line.split()[1]))
    for path in record_directories():
        if str(path) not in before["records"]:
            shutil.rmtree(path, ignore_errors=True)
    script = (
        'for p in $(grep -la "faults-mar[k]" /proc/[0-9]*/cmdline 2>/dev/null); do p=${p#/proc/}; '
        'kill -9 "${p%/cmdline}"; done 2>/dev/null; '
        f"rm -rf {_CONTAINER_STATES} /tmp/scrun-*/*-*; :"
    )
    _on_nodes(script)


def _on_nodes(script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script on both nodes, as root, once they are free."""
    command = ["srun", "--quiet", "--chdir=/", "--immediate=100", "--nodes=2", "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _jobs() -> dict[int, str]:
    pairs = [line.split() for line in slurm.squeue("--format=%A %T %j") if not line.endswith(" sh")]
    return {int(pair[0]): pair[1] for pair in pairs}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
