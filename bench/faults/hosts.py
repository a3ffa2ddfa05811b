"""How hosts of the cluster fail and come back. What happens on node2 is told to a job of root's there beforehand."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from integration.users import User

from . import scene
from .subjects import ON_NODE

GONE = 40  # seconds that the node is gone
ROUTE = "ip route replace default via $(ip -4 -o addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\)[.].*/\\1/').1"
# All processes of the node but its first two, and this one.
_KILL_ALL = (
    "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || "
    "grep -qz infinity /proc/$p/cmdline 2>/dev/null || kill -9 $p; done 2>/dev/null"
)
_BOOT = (
    "rm -rf /tmp/scrun-* /run/user/*/crun; install -d -o munge -g munge /run/munge; "
    "setpriv --reuid munge --regid munge --init-groups munged; sleep 1; slurmd"
)
DIE = f"ip link set eth0 down; {_KILL_ALL}; sleep {GONE}; ip link set eth0 up; {ROUTE}; {_BOOT}"
FILL = "mount -t tmpfs -o mode=1777,size=1m none /tmp && dd if=/dev/zero of=/tmp/full bs=4096 2>/dev/null; :"
EMPTY = "umount -l /tmp"
SMALL = {Path("/run/user/2000/scrun"): User("alice"), Path("/run/docker/runtime-runc/moby"): User("root")}


def on_node(script: str) -> None:
    """Run a shell script there, as root."""
    command = ["srun", "--quiet", "--chdir=/", f"--nodelist={ON_NODE}", "sh", "-c", script]
    subprocess.run(command, check=False, timeout=60, capture_output=True)


def on_node_later(script: str) -> None:
    """Begin to run a shell script there, which no job's end ends."""
    on_node(f"setsid sh -c {shlex.quote(f'sleep 1; {script}')} </dev/null >/dev/null 2>&1 &")  # srun ends before it


def later(script: str) -> None:
    """Begin to run a shell script here."""
    subprocess.Popen(["setsid", "sh", "-c", script], stdin=subprocess.DEVNULL)


def kill(name: str) -> None:
    """SIGKILL to the daemon of that name on login."""
    subprocess.run(["pkill", "-KILL", "-x", name], check=True)


def start_slurmctld(*options: str) -> None:
    """And wait until it answers and has its nodes."""
    subprocess.run(["slurmctld", *options], check=True, timeout=30)
    wait_for_node()


def start_munged() -> None:
    """As at boot."""
    command = ["setpriv", "--reuid", "munge", "--regid", "munge", "--init-groups", "munged", "--force"]
    subprocess.run(command, check=True, timeout=30)


def wait_for_node() -> None:
    """Wait until slurmctld has heard of every node again."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = subprocess.run(
            ["sinfo", "--noheader", "--partition=debug", "--format=%T"], capture_output=True, text=True, check=False
        )
        states = done.stdout.split()
        if (
            states
            and not done.returncode
            and all(state in ("idle", "mixed", "completing", "allocated") for state in states)
        ):
            return
        time.sleep(0.5)


def make_small_roots() -> None:
    """Have the runtime's directories, alice's and docker's, on small file systems of their own."""
    for root, user in SMALL.items():
        root.mkdir(parents=True, exist_ok=True)
        options = f"mode=700,size=512k,uid={user.uid},gid={user.gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(root)], check=True)


def fill(_: object) -> None:
    """Have no room there any more."""
    for root in SMALL:
        subprocess.run(["sh", "-c", f"dd if=/dev/zero of='{root}/.filling' bs=512 2>/dev/null; :"], check=True)


def empty() -> None:
    """Have room again."""
    for root in SMALL:
        (root / ".filling").unlink()


def remove_small_roots() -> None:
    """As it was before."""
    for root in SMALL:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def reboot_login() -> None:
    """All processes are gone but Slurm's own, as if these were elsewhere, and so is what lies in /run."""
    keep = {os.getpid(), 1, *_ancestors(os.getpid())}
    for _ in range(3):
        for pid, line in scene.command_lines().items():
            if (
                pid not in keep
                and "infinity" not in line
                and not line.split("/")[-1].startswith(("munged", "slurmctld"))
            ):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.3)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed([one for one in mounts if one.startswith(("/run/", "/var/lib/docker/", "/home/"))]):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    for path in [*Path("/run").iterdir(), *Path("/run/user").glob("*/*")]:
        if path.name in ("munge", "user", "lock") or path.name.startswith("slurm"):
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in Path("/tmp").iterdir():  # noqa: S108
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()


def boot_login() -> None:
    """The daemons again."""
    for user, script in (("root", "login.sh"), ("alice", "rootless-docker.sh"), ("root", "images.sh")):
        User(user).run("bash", f"/src/devcluster/boot/{script}", timeout=60)


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
