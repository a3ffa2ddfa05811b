"""A login host that was rebooted: the jobs that its containers left are ended by their user's next call."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import RUNTIME, MakeContainer
from .engines import Engine
from .processes import is_running
from .test_lost_processes import kill_both
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("its containers end with the host")

# What an admin may run when the host is up again, before anybody logs in (docs/configuration.md).
AT_BOOT = """
squeue --noheader --Format=JobID:20,ContainerID:1100 | awk -v host="@$(uname -n)/" 'index($2, host) { print $1 }'
"""


def processes_of(user: User) -> list[int]:
    """All processes of a user that run."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user.uid and is_running(int(name)):
                found.append(int(name))
        except FileNotFoundError:
            pass
    return found


def end_processes_of(user: User) -> None:
    """Kill them all, none of which sees another's end."""

    def none_left() -> bool:
        left = processes_of(user)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        return not left

    wait_until(none_left, f"all processes of {user.name} have gone")


def reboot(user: User) -> None:
    """What a reboot leaves of the user on this host: no process, and nothing below /run."""

    end_processes_of(user)
    run = Path(f"/run/user/{user.uid}")
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(f"{run}/"):
            os.system(f"umount -l {line.split()[4]}")
    for path in run.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def forget_small_files(bundle: Path) -> None:
    """Remove what scrun has put beside a bundle: nobody knows of it any more."""
    for path in bundle.glob(".scrun-*"):
        shutil.rmtree(path)


@pytest.fixture
def bobs_podman(bob: User) -> Iterator[Engine]:
    """bob's rootless podman: no daemon of his runs here."""
    one = Engine("podman", bob, "scrun")
    yield one
    one.clean_up()
    end_processes_of(bob)  # podman leaves one that holds its namespaces


@pytest.fixture
def rebooted(bobs_podman: Engine, container: MakeContainer, bob: User) -> set[int]:
    """The jobs of a container of podman's and one of a person's, from before a reboot."""
    bobs_podman.detached("sleep", "1000")
    one = container("sleep", "1000", user=bob).started()
    jobs = slurm.jobs(bob)
    assert len(jobs) == 2
    reboot(bob)
    assert slurm.jobs(bob) == jobs
    forget_small_files(one.bundle)
    return jobs


def goes(jobs: set[int]) -> None:
    """Wait until none of the jobs is left."""
    wait_until(lambda: not jobs & slurm.jobs(), f"jobs {jobs} have gone")


def test_list_ends_and_reports_jobs_from_before_reboot(rebooted: set[int], bob: User) -> None:
    done = bob.run(RUNTIME, "list").ok()
    assert all(f"scrun: job {job} of container " in done.stderr for job in rebooted)
    goes(rebooted)
    assert bob.run(RUNTIME, "list").ok().stderr == ""


def test_the_next_container_has_them_ended_without_waiting(
    rebooted: set[int], container: MakeContainer, bob: User
) -> None:
    one = container("sleep", "1000", user=bob).started()
    goes(rebooted)
    assert one.status() == "running", "its own job stays"
    assert slurm.jobs(bob) == {one.record["job"]}


def test_delete_ends_the_job_from_before_reboot(rebooted: set[int], bob: User, container: MakeContainer) -> None:
    del container
    job = max(rebooted)
    ours = slurm.job_fields(job)["ContainerID"].partition("@")[0]
    done = bob.run(RUNTIME, "delete", ours).ok()
    assert f"job {job} of container {ours!r} is ended" in done.stderr
    goes(rebooted)
    assert bob.run(RUNTIME, "delete", ours).status == 1


def test_an_admin_can_end_them_at_boot(rebooted: set[int], root: User) -> None:
    jobs = {int(line) for line in root.run("sh", "-c", AT_BOOT).ok().stdout.split()}
    assert jobs == rebooted
    for job in jobs:
        slurm.cancel(job)
    goes(rebooted)


@pytest.fixture
def on_another_host(bob: User, root: User) -> Callable[..., None]:
    """Calls scrun as bob on a host that is this one, but for its name."""

    def call(*words: str) -> None:
        as_bob = ("setpriv", f"--reuid={bob.uid}", f"--regid={bob.gid}", "--init-groups")
        named = ("unshare", "--uts", "sh", "-c", 'hostname login2 && exec "$@"', "sh", *as_bob, RUNTIME, *words)
        root.run(*named, env={"HOME": str(bob.home), "USER": bob.name}).ok()

    return call


def test_another_hosts_and_another_roots_jobs_stay(
    on_another_host: Callable[..., None], bundle: Callable[..., Path], bob: User
) -> None:
    path = bundle("sleep", "1000", user=bob)
    on_another_host("create", f"--bundle={path}", "test-elsewhere")
    bob.run(RUNTIME, f"--root=/run/user/{bob.uid}/another", "create", f"--bundle={path}", "test-another").ok()
    jobs = slurm.jobs(bob)
    assert len(jobs) == 2
    reboot(bob)
    forget_small_files(path)
    assert bob.run(RUNTIME, "list").ok().stderr == ""
    assert slurm.jobs(bob) == jobs
    (Path(f"/run/user/{bob.uid}/scrun") / ".swept").unlink()
    on_another_host("list")
    wait_until(lambda: len(slurm.jobs(bob)) == 1, "the other host has ended its own")
    assert bob.run(RUNTIME, f"--root=/run/user/{bob.uid}/another", "delete", "--force", "test-another").ok().stderr
    goes(jobs)


@pytest.mark.parametrize("verb", ["list", "list -q", "create"])
def test_container_without_processes_needs_no_delete(container: MakeContainer, verb: str) -> None:
    one = container("sleep", "1000").started()
    job = kill_both(one)["job"]
    if verb != "create":
        assert f"job {job} of container {one.id!r} is ended" in one.runtime.run(*verb.split()).ok().stderr
    else:
        container("true").created()
    goes({job})
    wait_until(lambda: one.record.get("released"), "its record says so")
    assert one.status() == "stopped"
    assert one.runtime.run("list").ok().stderr == ""
