"""What only podman does, or does in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import slurm
from .engines import Engine
from .waiting import wait_until

slurms_own = pytest.mark.slurm_only("there is no job")


def test_volume_in_the_shared_home_keeps_written_files(podman: Engine, directory: Path) -> None:
    (directory / "given").write_text("given\n")
    done = podman.run(
        "sh", "-c", "cat /x/given; echo made >/x/made; id -u", options=("--rm", "--volume", f"{directory}:/x")
    )
    assert done.stdout.split() == ["given", "0"]
    made = directory / "made"
    assert made.read_text() == "made\n"
    assert made.stat().st_uid == podman.user.uid


def test_read_only_volume_cannot_be_written(podman: Engine, directory: Path) -> None:
    done = podman.run("touch", "/x/made", options=("--rm", "--volume", f"{directory}:/x:ro"))
    assert done.status == 1
    assert not (directory / "made").exists()


def test_the_files_that_podman_mounts_are_there(podman: Engine) -> None:
    # They lie in /run/user, which the nodes don't see.
    done = podman.run("sh", "-c", "cat /etc/resolv.conf >/dev/null && cat /etc/hostname && ls /run/.containerenv")
    assert done.status == 0, done.stderr
    assert "/run/.containerenv" in done.stdout


def test_volume_only_on_the_login_host_is_carried(podman: Engine, tmp_path: Path) -> None:
    private = Path(f"/run/user/{podman.user.uid}/scrun-test-volume")
    podman.user.mkdir(private)
    try:
        podman.user.write(private / "given", "given\n")
        done = podman.run("sh", "-c", "cat /x/given; echo made >/x/made", options=("--rm", "--volume", f"{private}:/x"))
        assert done.stdout == "given\n"
        assert (private / "made").read_text() == "made\n"
    finally:
        for path in private.iterdir():
            path.unlink()
        private.rmdir()


@contextmanager
def flagged(podman: Engine, directory: Path, flag: str) -> Iterator[Engine]:
    """podman with a containers.conf that has it give its runtime that flag at each call."""
    mine = directory / "containers.conf"
    usual = Path((podman.env or {}).get("CONTAINERS_CONF") or "/etc/containers/containers.conf").read_text()
    podman.user.write(mine, f'{usual}\n[engine.runtimes_flags]\n{podman.runtime} = ["{flag}"]\n')
    engine = Engine("podman", podman.user, podman.runtime, {"CONTAINERS_CONF": str(mine)})
    yield engine
    engine.clean_up()


def test_flags_of_containers_conf_come_with_each_call(podman: Engine, directory: Path) -> None:
    root = directory / "containers"
    with flagged(podman, directory, f"root={root}") as engine:
        name = engine.detached("sleep", "1000")
        assert (root / engine.inspect(name)["Id"]).is_dir()
        assert engine.call("exec", name, "echo", "there").ok().stdout == "there\n"


def test_unknown_flag_of_containers_conf_is_named(podman: Engine, directory: Path) -> None:
    with flagged(podman, directory, "invalidflag") as engine:
        done = engine.run("true", options=("--rm",))
    assert done.status == 126
    assert "--invalidflag" in done.stderr.splitlines()[-1]


@slurms_own
def test_podman_kill_and_wait_end_the_job(podman: Engine) -> None:
    before = slurm.jobs()
    name = podman.detached("sleep", "1000")
    (job,) = slurm.jobs() - before
    podman.call("kill", name).ok()
    assert podman.exit_code(name) == 137
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")


def test_ps_and_inspect_know_that_it_runs(podman: Engine) -> None:
    name = podman.detached("sleep", "1000")
    assert name in podman.call("ps", "--format", "{{.Names}}").stdout.split()
    state = podman.inspect(name)["State"]
    assert state["Status"] == "running"
    assert state["Pid"] > 0


@slurms_own
def test_queued_container_is_up_and_removable(podman: Engine, held_node: int) -> None:
    name = podman.detached("true", options=("-e", "SCRUN_JOB_NODELIST=node2", "-e", "SCRUN_CREATE_TIMEOUT=1"))
    assert podman.is_running(name)
    podman.remove(name).ok()


@slurms_own
def test_a_queued_container_runs_when_there_is_room(podman: Engine, held_node: int) -> None:
    name = podman.detached(
        *("sh", "-c", "echo on $SLURMD_NODENAME; exit 7"),
        options=("-e", "SCRUN_JOB_NODELIST=node2", "-e", "SCRUN_CREATE_TIMEOUT=1"),
    )
    slurm.release(held_node)
    assert podman.exit_code(name) == 7
    assert podman.call("logs", name).output == b"on node2\n"
