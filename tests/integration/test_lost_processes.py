"""Whatever is killed, no job outlives its container, and no container is believed to run that doesn't."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from scrun.bundle import adapt
from scrun.staging import root_mounts

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .processes import descendants, is_running
from .rootfs import new_network
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("no process stays with a container, and there is no job")

STUBBORN = ("sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done")


def assert_job_goes(job: int) -> None:
    """Nobody else ends it: its processes would run for longer than a test waits."""
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
@pytest.mark.parametrize("who", ["anchor", "pid"])
def test_a_killed_process_ends_a_running_containers_job(container: MakeContainer, who: str, change: object) -> None:
    one = container(*STUBBORN, change=change).started()
    one.wait_for_output(b"ready\n")
    record = one.record
    processes = {record["pid"], record["anchor"], *descendants(record["anchor"])}
    os.kill(record[who], signal.SIGKILL)
    one.wait_for("stopped")
    assert_job_goes(record["job"])
    wait_until(lambda: not any(map(is_running, processes)), "its processes have gone, srun too")
    assert one.ended() == (-9 if who == "pid" else 137)


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
@pytest.mark.parametrize("who", ["anchor", "pid"])
def test_a_killed_process_ends_a_created_containers_job(container: MakeContainer, who: str, change: object) -> None:
    one = container("sleep", "1000", change=change).created()
    record = one.record
    os.kill(record[who], signal.SIGKILL)
    one.wait_for("stopped")
    assert_job_goes(record["job"])


def test_anchor_killed_right_after_start_ends_the_job(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    record = one.record
    os.kill(record["anchor"], signal.SIGKILL)
    assert_job_goes(record["job"])


def test_container_with_both_killed_is_stopped_and_deletable(container: MakeContainer) -> None:
    one = container(*STUBBORN).started()
    record = kill_both(one)
    assert one.status() == "stopped"
    assert one.state()["pid"] == 0
    one.call("delete").ok()
    assert_job_goes(record["job"])


@pytest.mark.parametrize(
    ("verb", "words", "refusal"), [("start", "", "stopped"), ("kill", "TERM", "container not running")]
)
def test_no_other_operation_works_on_what_was_killed(
    container: MakeContainer, verb: str, words: str, refusal: str
) -> None:
    one = container("sleep", "1000").created()
    kill_both(one)
    done = one.call(verb, *words.split())
    assert done.status == 1
    assert refusal in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_start_with_a_killed_anchor_ends_the_job(podman: Engine) -> None:
    # podman kills the container's pid when its start has failed, and with it the stand-in that was to end the job.
    name, before = podman.name(), slurm.jobs()
    podman.call("create", *podman.words(command=("sleep", "1000"), name=name)[1:]).ok()
    podman.call("init", name).ok()
    root = Path(f"/run/user/{podman.user.uid}/scrun")
    record = json.loads((root / podman.inspect(name)["Id"] / "state.json").read_text())
    os.kill(record["anchor"], signal.SIGKILL)
    done = podman.call("start", name)
    assert done.status
    assert "it is stopped, not created" in done.stderr
    wait_until(lambda: not slurm.jobs() - before, "its job has gone")


def test_a_lost_container_leaves_the_users_job(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ready; sleep 1000")
    job = slurm.allocate(one.runtime.user)
    try:
        one.started(env={"SLURM_JOB_ID": str(job)})
        one.wait_for_output(b"ready\n")
        kill_both(one)
        one.call("delete").ok()
        assert slurm.job_fields(job)["JobState"] == "RUNNING"
        wait_until(lambda: not slurm.steps(job), "the container's step has gone")
    finally:
        slurm.release(job)


@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_a_stopped_process_is_continued(container: MakeContainer, verb: str) -> None:
    one = container(*STUBBORN).started()
    one.wait_for_output(b"ready\n")
    record = one.record
    for who in ("anchor", "pid"):
        os.kill(record[who], signal.SIGSTOP)
    one.call(verb, *(["KILL"] if verb == "kill" else [])).ok()
    assert one.ended() == 137
    assert_job_goes(record["job"])


def test_stopped_stand_in_does_not_delay_delete(container: MakeContainer) -> None:
    one = container("true").created()
    os.kill(one.record["pid"], signal.SIGSTOP)
    one.call("start").ok()
    one.wait_for("stopped")
    one.call("delete").ok()
    assert one.ended() == 0


def test_srun_killed_ends_the_container_with_a_failure(container: MakeContainer) -> None:
    one = container(*STUBBORN).started()
    one.wait_for_output(b"ready\n")
    record = one.record
    os.kill(record["step_pid"], signal.SIGKILL)
    assert one.ended() == 137
    assert_job_goes(record["job"])


@pytest.mark.parametrize("trap", ["exit 42", ""], ids=["handled", "ignored"])
def test_cancelled_job_ends_its_container_with_a_failure(container: MakeContainer, trap: str) -> None:
    # Slurm sends TERM and, where that is ignored, KILL after KillWait, which is 30 s.
    one = container("sh", "-c", f"trap '{trap}' TERM; echo ready; while :; do sleep 0.1; done").started()
    one.wait_for_output(b"ready\n")
    job = one.record["job"]
    slurm.cancel(job)
    assert one.ended() in ((42, 143) if trap else (137, 143))
    assert b"is lost" not in one.errors  # Slurm's own words are enough, though the agent went with the step
    assert b" CANCELLED AT " in one.errors
    one.wait_for("stopped")
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")
    assert slurm.containers_on_nodes(job) == []


def test_a_killed_agent_is_named_as_the_cause(container: MakeContainer) -> None:
    one = container(*STUBBORN).started()
    one.wait_for_output(b"ready\n")
    node, job = one.record["nodes"], one.record["job"]
    slurm.on_node(node, f"pkill -KILL -f 'scrun-node agen[t] .*{one.id}'")
    assert one.ended() == 137
    assert re.fullmatch(rf"scrun: the connection to {node} is lost: [^\n]*\n", one.errors.decode())
    assert_job_goes(job)


@pytest.mark.parametrize("is_dead", [False, True], ids=["said to be down", "dead"])
def test_failed_node_is_not_the_programs_status(container: MakeContainer, is_dead: bool) -> None:
    one = container("sh", "-c", "trap : TERM; echo up; sleep 1000; :").started()
    one.wait_for_output(b"up")
    node, job = one.record["nodes"], one.record["job"]
    if is_dead:
        slurm.kill_daemons(node)
    slurm.fail_node(node)
    assert one.ended() == 143
    assert f"scrun: no exit status has come from {node}: ".encode() in one.errors
    one.call("delete").ok()
    assert_job_goes(job)
    slurm.on_node(node, "pkill -KILL -f 'sleep 100[0]'; :")


def test_a_job_cancelled_before_start(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ran").created()
    slurm.cancel(one.record["job"])
    wait_until(lambda: one.record["job"] not in slurm.jobs(), "the job has gone")
    done = one.call("start")
    assert done.status == 1
    assert len(done.stderr.splitlines()) == 1
    assert one.ended() != 0
    assert b"ran" not in one.output
    assert one.status() == "stopped"


def test_epilog_cleans_up_any_users_forgotten_job(container: MakeContainer) -> None:
    # After slurmctld -c slurmd has the jobs that it had ended, and calls their Epilog as that of root's jobs.
    one = container(*STUBBORN).started(env={"SCRUN_JOB_NODELIST": "node1"})
    one.wait_for_output(b"ready\n")
    job = one.record["job"]
    slurm.on_node("node1", f"SLURM_JOB_ID={job} SLURM_JOB_UID=0 SLURM_JOB_GID=0 /etc/slurm/epilog")
    assert slurm.containers_on_nodes(job) == []
    assert one.ended() != 0


def test_epilog_leaves_other_jobs_same_numbered_steps_alone(container: MakeContainer, alice: User) -> None:
    one = container(*STUBBORN).started(env={"SCRUN_JOB_NODELIST": "node1"})
    one.wait_for_output(b"ready\n")
    ((*_, step, task),) = [name.split(".") for name in slurm.containers_on_nodes(one.record["job"])]
    for number in {step, task}:
        user = f"SLURM_JOB_UID={alice.uid} SLURM_JOB_GID={alice.gid}"
        slurm.on_node("node1", f"SLURM_JOB_ID={number} {user} /etc/slurm/epilog")
    assert len(slurm.containers_on_nodes(one.record["job"])) == 1
    one.call("kill", "KILL").ok()
    assert one.ended() == 137


def test_epilog_removes_a_killed_runtime_trial(alice: User, directory: Path) -> None:
    dies = directory / "dies"  # the runtime, which is killed with all of its step when it has made the container
    runtime = f"crun --root=/run/user/{alice.uid}/crun --cgroup-manager=disabled"
    dies.write_text(f'#!/bin/sh\n{runtime} "$@"\nkill -9 0\n')
    dies.chmod(0o755)

    def adapted(config: Any) -> Any:
        return adapt.adapt(config, uid=alice.uid, gid=alice.gid, note=lambda _note: None)

    trial = root_mounts.trial(root_mounts.OVERLAY, "", adapted)
    script = f"{root_mounts.TRY}\n make_try && try_runtime \"$try\" {dies} '{trial.config}'"
    left = f"ls -d /tmp/scrun-{alice.uid}-try-* /run/user/{alice.uid}/crun/scrun-try.*"
    user = f"setpriv --reuid={alice.uid} --regid={alice.gid} --clear-groups setsid --wait"
    slurm.on_node("node1", f"SLURM_JOB_ID=7654321 {user} sh -c {shlex.quote(script)}; :")
    made = 2 if slurm.mounts_at_root("node1") else 1  # crun 1.21 makes no container that has a mount at /
    assert len(slurm.on_node("node1", f"{left}; :").split()) == made
    user = f"SLURM_JOB_UID={alice.uid} SLURM_JOB_GID={alice.gid}"
    slurm.on_node("node1", f"SLURM_JOB_ID=7654321 {user} /etc/slurm/epilog")
    assert slurm.on_node("node1", f"{left} 2>/dev/null; :") == ""


def test_epilog_removes_state_if_runtime_dies_at_hook(alice: User, directory: Path) -> None:
    # crun writes to the poststop hook of a bundle that has gone: SIGPIPE, if the hook's process was quicker.
    crun = directory / "crun"
    crun.write_text("#!/bin/sh\nkill -PIPE $$\n")
    crun.chmod(0o755)
    state = f"/run/user/{alice.uid}/crun/node1.alice.7654322.0.0"
    user = f"setpriv --reuid={alice.uid} --regid={alice.gid} --clear-groups"
    slurm.on_node("node1", f"{user} mkdir -p {state} && touch {state}/status")
    as_user = f"SLURM_JOB_UID={alice.uid} SLURM_JOB_GID={alice.gid} PATH={directory}:$PATH"
    slurm.on_node("node1", f"SLURM_JOB_ID=7654322 {as_user} /etc/slurm/epilog")
    assert slurm.containers_on_nodes(7654322) == []


def kill_both(one: Container) -> dict[str, int]:
    """SIGKILL to the anchor and the stand-in; the record as it was before."""
    record = one.record
    os.kill(record["pid"], signal.SIGSTOP)  # so that it doesn't see the anchor's end
    os.kill(record["anchor"], signal.SIGKILL)
    os.kill(record["pid"], signal.SIGKILL)
    wait_until(lambda: not is_running(record["pid"]), "the stand-in has gone")
    return record


@pytest.mark.parametrize("begun", [False, True], ids=["created", "running"])
def test_removing_the_containers_directory_ends_the_job(container: MakeContainer, begun: bool) -> None:
    # As logind does with /run/user/UID at the last logout.
    one = container(*STUBBORN).created()
    if begun:
        one.call("start").ok()
        one.wait_for_output(b"ready\n")
    record = one.record
    shutil.rmtree(one.path)
    assert one.ended() == 137
    assert_job_goes(record["job"])
    wait_until(lambda: not is_running(record["anchor"]), "its anchor has gone")
    assert one.errors == (
        b"scrun: %s was removed, so that nobody could find the container any more: it ends. "
        b"A logout does that unless its user may linger (loginctl enable-linger)\n" % str(one.path).encode()
    )
    assert not one.path.exists()


def test_container_never_started_ends_with_its_job(container: MakeContainer) -> None:
    one = container("true").created()
    job = one.record["job"]
    slurm.cancel(job)
    assert one.ended() == 125
    assert one.errors == b"scrun: job %d has ended before the container was started\n" % job
    assert one.status() == "stopped"
