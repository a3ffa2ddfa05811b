"""What the tests ask Slurm, and Slurm configurations of their own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from . import noise
from .users import User
from .waiting import wait_until

CONFIG = Path("/etc/slurm")


def squeue(*arguments: str) -> list[str]:
    """The lines of squeue, of everybody's jobs."""
    done = subprocess.run(
        ["squeue", "--all", "--noheader", *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return [line.strip() for line in done.stdout.splitlines()]


def jobs(user: User | None = None) -> set[int]:
    """The jobs that wait, run or are completing; only that user's when one is named."""
    only = [f"--user={user.name}"] if user else []
    return {int(line) for line in squeue("--format=%A", *only)}


def known_jobs() -> set[int]:
    """All jobs that slurmctld remembers, those of the last minutes that have ended too."""
    return {int(line) for line in squeue("--states=all", "--format=%A")}


def job_fields(job: int) -> dict[str, str]:
    """What ``scontrol show job`` says."""
    done = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", str(job)], capture_output=True, text=True, timeout=30, check=True
    )
    return dict(field.partition("=")[::2] for field in done.stdout.split())


def cancel(job: int, *options: str) -> None:
    """scancel one job."""
    subprocess.run(["scancel", *options, str(job)], timeout=30, check=True)


def allocate(user: User, *options: str) -> int:
    """A job of that user's, as salloc gives it; see :func:`release`."""
    done = user.run("salloc", "--no-shell", "--job-name=of-the-tests", *options).ok()
    return int(done.stderr.partition("Granted job allocation ")[2].split()[0])


def release(job: int) -> None:
    """Cancel what :func:`allocate` started, and wait until its nodes are free."""
    cancel(job)
    wait_until(lambda: job not in jobs(), f"job {job} has gone")


def steps(job: int) -> list[str]:
    """The steps that a job has now."""
    return squeue("--steps", f"--job={job}", "--format=%i")


def wait_until_alone(job: int, step: str) -> None:
    """Wait until a job has no step but that one: slurmctld may hear of another's end after its srun has ended."""
    wait_until(lambda: {*steps(job)} <= {f"{job}.{step}", f"{job}.extern"}, f"only step {step} is left of job {job}")


def fail_node(name: str) -> None:
    """Have slurmctld believe that a node has failed; it comes back when its slurmd is next heard of."""
    subprocess.run(["scontrol", "update", f"nodename={name}", "state=down", "reason=test"], timeout=30, check=True)
    wait_until(lambda: _state(name) in ("idle", "mixed", "completing"), f"{name} is back")


def kill_daemons(name: str) -> None:
    """Kill slurmd and slurmstepd of a node, as a power failure does; slurmd comes back after some seconds."""
    script = "pkill -KILL slurmstepd; pkill -KILL slurmd; sleep 5; until slurmd; do sleep 1; done"
    subprocess.run(
        ["srun", "--quiet", f"--nodelist={name}", "setsid", "sh", "-c", f"(sleep 1; {script}) >/dev/null 2>&1 &"],
        timeout=30,
        check=True,
    )
    wait_until(lambda: not _answers(name), f"slurmd of {name} is dead")


def _answers(node: str) -> bool:
    """Whether something listens where the node's slurmd does."""
    with socket.socket() as probe:
        return probe.connect_ex((node, 6818)) == 0


def _state(node: str) -> str:
    command = ["sinfo", "--noheader", "--partition=debug", f"--nodes={node}", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def on_nodes(script: str) -> list[str]:
    """The words that a shell script prints on the two nodes, run by root."""
    return _srun("--nodes=2", "--ntasks-per-node=1", "sh", "-c", script).split()


def on_node(node: str, script: str) -> str:
    """What a shell script prints on one node, run by root."""
    return _srun(f"--nodelist={node}", "sh", "-c", script)


def _srun(*words: str) -> str:
    done = subprocess.run(["srun", "--quiet", *words], capture_output=True, timeout=60, check=True)
    return noise.without(done.stdout).decode()


def containers_on_nodes(job: int) -> list[str]:
    """The containers of that job which the nodes' own runtime still knows, running or not."""
    return on_nodes(f"ls -d /run/user/*/crun/*.{job}.*.* /run/oci/*/*.{job}.*.* 2>/dev/null; :")


def files_on_nodes(job: int) -> list[str]:
    """What was carried to the nodes for that job and is there still."""
    return on_nodes(f"ls -d /tmp/scrun-*/{job}-* 2>/dev/null; :")


def copy_config(directory: Path, **settings: str) -> Path:
    """A copy of the cluster's configuration, for -f; the path of its slurm.conf, where ``settings`` were changed."""
    for file in CONFIG.iterdir():
        if file.is_file():
            shutil.copy(file, directory / file.name)
            (directory / file.name).chmod(0o644)
    conf = directory / "slurm.conf"
    kept = [line for line in conf.read_text().splitlines() if line.partition("=")[0] not in settings]
    conf.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in settings.items())]) + "\n")
    return conf
