"""What containers on one network of the user's keep of this host while they do nothing; `make bench-networks` runs it.

Each row is a kind of process: how many there are, their memory (PSS: each one's share of what several have), and the
processor time that all of them took together while nothing was asked of any container.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

SECONDS = 30  # that nothing is done
SETTLED = 25  # seconds after the last start, in which stand-ins go to sleep, and IPv6 has said all it says of itself
IMAGE = "localhost/busybox"
TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {  # of a process by its name, or by a word of its command line
    "scrun-network": "scrun-network",
    "scrun-wait": "stand-in or anchor, asleep",
    "srun": "srun, which is Slurm's",
    "conmon": "conmon, which is podman's",
    "dockerd": "dockerd",
    "containerd-shim": "containerd-shim, which is docker's",
    "aardvark-dns": "aardvark-dns, which is podman's",
    "pasta": "pasta, which is podman's",
}


class Process(NamedTuple):
    """A process: its kind, MB of its memory, and seconds of its processor time."""

    kind: str
    pss: float
    cpu: float


def processes() -> Iterator[tuple[int, Process]]:
    """Those of this host that belong to containers."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().replace("\0", " ")
            kind = next((kind for key, kind in KINDS.items() if name.startswith(key)), "")
            if not kind and "scrun" in f"{name} {words}" and "bench" not in words:
                kind = "anchor and stand-in, awake"
            if not kind:
                continue
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                pss = next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (OSError, StopIteration):
            continue
        yield pid, Process(kind, pss, (int(fields[11]) + int(fields[12])) / TICKS)


def call(engine: str, *words: str) -> str:
    """What alice's podman or root's docker prints."""
    user = pwd.getpwnam("alice") if engine == "podman" else None
    return subprocess.run(
        [engine, *words],
        cwd="/",
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        env={**os.environ, **({"HOME": user.pw_dir, "XDG_RUNTIME_DIR": f"/run/user/{user.pw_uid}"} if user else {})},
    ).stdout.strip()


def idle(engine: str, most: int) -> None:
    """Measure and print: that many containers, or as many as the nodes have CPUs."""
    cpus = subprocess.run(["sinfo", "-h", "-p", "debug", "-o", "%C"], capture_output=True, text=True, check=True).stdout
    count, name = min(most, int(cpus.split("/")[1])), f"bench-{uuid.uuid4().hex[:8]}"
    call(engine, "network", "create", name)
    before, made = dict(processes()), list[str]()
    try:
        for _ in range(count):
            words = ("--runtime=scrun", "--network", name, IMAGE, "sleep", "100000")
            made.append(call(engine, "run", "--detach", *words))
        time.sleep(SETTLED)
        first, begun = dict(processes()), time.monotonic()
        time.sleep(SECONDS)
        last, took = dict(processes()), time.monotonic() - begun
    finally:
        for one in made:
            call(engine, "rm", "--force", *(["--time=0"] if engine == "podman" else []), one)
        call(engine, "network", "rm", name)
    rows: dict[str, list[tuple[float, float]]] = {}
    for pid, process in last.items():
        if pid in first and (pid not in before or process.kind == "dockerd"):
            rows.setdefault(process.kind, []).append((process.pss, process.cpu - first[pid].cpu))
    print(f"\n{count} idle containers on one network, {engine}: processes of this host, {took:.0f} s")
    print(f"{'':<40}{'number':>8}{'MB each':>10}{'MB':>8}{'processor':>12}")
    for kind, each in sorted(rows.items()):
        memory, cpu = sum(pss for pss, _ in each), sum(cpu for _, cpu in each)
        print(f"  {kind:<38}{len(each):8}{memory / len(each):10.2f}{memory:8.1f}{1000 * cpu:9.0f} ms", flush=True)
