"""Every job variable of scrun(1): what Slurm then shows of the job, of its step, or of what it was asked."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scrun.slurm.variables import TABLE

from . import slurm
from .conftest import MakeContainer
from .users import User

pytestmark = pytest.mark.slurm_only("it asks no scheduler for anything")

SLURMCTLD_LOG = Path("/var/log/slurm/slurmctld.log")

# Variables as given, and a line of `scontrol -d show job` for each of them; the first is the one that is shown.
SHOWN = [
    ("ACCOUNT=physics", "Account=physics"),
    ("BURST_BUFFER=#BB x", "BurstBuffer=#BB"),
    ("CLUSTER_CONSTRAINT=x", "ClusterFeatures=x"),
    ("CONSTRAINT=fake", "Features=fake"),
    ("CORE_SPEC=1", "CoreSpec=1"),
    ("CPU_FREQ_REQ=low", "CPU_max_freq=Low"),
    ("CPU_FREQ_REQ=1000-2000:ondemand", "CPU_min_freq=1000"),
    ("CPUS_PER_GPU=2 GPUS=1", "CpusPerTres=gres/gpu:2"),
    ("CPUS_PER_TASK=3", "CPUs/Task=3"),
    ("DELAY_BOOT=5", "DelayBoot=00:05:00"),
    ("EXCLUSIVE=", "Exclusive=NODE"),
    ("EXCLUSIVE=user", "Exclusive=USER"),
    ("EXCLUSIVE=mcs", "Exclusive=MCS"),
    ("EXCLUSIVE=topo", "Exclusive=TOPO"),
    ("EXCLUSIVE=oversubscribe", "OverSubscribe=YES"),
    ("GPU_BIND=single:1 GPUS=1", "TresBind=gres/gpu:single:1"),
    ("GPU_FREQ=low", "TresFreq=gpu:low"),
    ("GPUS=a100:1", "GRES=gpu:a100:1(IDX:0)"),
    ("GPUS=v100:2", "GRES=gpu:v100:2(IDX:2-3)"),
    ("GPUS=2", "TresPerJob=gres/gpu:2"),
    ("GPUS_PER_NODE=1", "TresPerNode=gres/gpu:1"),
    ("GPUS_PER_SOCKET=1 NSOCKETS_PER_NODE=1", "TresPerSocket=gres/gpu:1"),
    ("GPUS_PER_TASK=1 NTASKS=1", "TresPerTask=gres/gpu=1"),
    ("GRES=gpu:v100:1", "TresPerNode=gres/gpu:v100:1"),
    ("GRES_FLAGS=enforce-binding GRES=gpu:1", "GresEnforceBind=Yes"),
    ("GRES_FLAGS=disable-binding GRES=gpu:1", "GresEnforceBind=No"),
    ("HINT=nomultithread", "ReqB:S:C:T=0:0:*:1"),
    ("HINT=memory_bound", "ReqB:S:C:T=0:0:1:1"),
    ("JOB_NAME=mine", "JobName=mine"),
    ("COMMENT=mine", "Comment=mine"),
    ("JOB_NODELIST=node2", "NodeList=node2"),
    ("JOB_NUM_NODES=2", "NumNodes=2"),
    ("MEM_PER_CPU=70M", "MinMemoryCPU=70M"),
    ("MEM_PER_GPU=60 GPUS=1", "MemPerTres=gres/gpu:60"),
    ("MEM_PER_NODE=1G", "MinMemoryNode=1G"),
    ("NCORES_PER_SOCKET=2", "ReqB:S:C:T=0:0:2:*"),
    ("NETWORK=x", "Network=x"),
    ("NSOCKETS_PER_NODE=1", "Socks/Node=1"),
    ("NTASKS=20", "NumTasks=20"),
    ("NTASKS=20", "NumNodes=2"),
    ("NTASKS_PER_CORE=1", "NtasksPerN:B:S:C=0:0:*:1"),
    ("NTASKS_PER_GPU=2 GPUS=1", "NtasksPerTRES=2"),
    ("NTASKS_PER_NODE=2", "NtasksPerN:B:S:C=2:0:*:*"),
    ("NTASKS_PER_TRES=2 GPUS=1", "NtasksPerTRES=2"),
    ("OVERCOMMIT=1 NTASKS=20 JOB_NUM_NODES=1", "NumCPUs=1"),
    ("PARTITION=short", "Partition=short"),
    ("REMOTE_CWD=/tmp", "WorkDir=/tmp"),
    ("REQ_SWITCH=1@5:00", "Switches=1@00:05:00"),
    ("RESERVATION=of-the-tests", "Reservation=of-the-tests"),
    ("SPREAD_JOB=1", "SpreadJob=Yes"),
    ("THREAD_SPEC=1", "ThreadSpec=1"),
    ("THREADS_PER_CORE=1", "ReqB:S:C:T=0:0:*:1"),
    ("TIMELIMIT=2:00", "TimeLimit=00:02:00"),
    ("TIMELIMIT=1-2:03:04", "TimeLimit=1-02:04:00"),  # whole minutes, up
    ("TRES_BIND=gres/gpu:single:1 GPUS=1", "TresBind=gres/gpu:single:1"),
    ("TRES_PER_TASK=cpu=2 NTASKS=1", "CPUs/Task=2"),
    ("WAIT4SWITCH=5:00 REQ_SWITCH=1", "Switches=1@00:05:00"),
    ("WCKEY=mine", "WCKey=mine"),
    ("WORKING_DIR=/tmp", "WorkDir=/tmp"),
]

# What scontrol doesn't show: what slurmctld writes of a request that it receives (debug3).
RECEIVED = [
    ("ACCTG_FREQ=task=10", "acctg_freq=task=10"),
    ("DEPENDENCY=singleton", "dependency=singleton"),
    ("MEM_BIND=local", "mem_bind=32:"),
    ("OPEN_MODE=truncate", "open_mode=2"),
    ("QOS=high", "qos=high"),
    ("SIGNAL=USR1@20", "signal=10@20"),
    ("USE_MIN_NODES=1 JOB_NUM_NODES=1-2", "bitflags=0x1e000200"),
]

# What only the container's step shows: a variable in the environment of its process.
IN_THE_STEP = [
    ("CPU_BIND=none", "SLURM_CPU_BIND_TYPE=none"),
    ("DISTRIBUTION=cyclic:block", "SLURM_DISTRIBUTION=cyclic:block"),
    ("EXACT=1", "SLURM_EXACT=1"),
    ("KILL_BAD_EXIT=1", "SLURM_KILL_BAD_EXIT=1"),
    ("MPI_TYPE=pmi2", "PMI_RANK=0"),
    ("OVERLAP=1", "SLURM_OVERLAP=1"),
    ("PROFILE=task", "SLURM_PROFILE=Task"),
    ("THREADS=5", "SLURM_THREADS=5"),
    ("WAIT=7", "SLURM_WAIT=7"),
]

# Each has a test of its own.
ELSEWHERE = {
    "CLUSTERS",
    "EPILOG",
    "LABELIO",
    "POWER",
    "PROLOG",
    "SLURMD_DEBUG",
    "TASK_EPILOG",
    "TASK_PROLOG",
    "UNBUFFEREDIO",
}


def variables(words: str) -> dict[str, str]:
    """``A=b C=d`` as the environment that asks for it."""
    return dict(f"SCRUN_{word}".partition("=")[::2] for word in re.split(r" (?=[A-Z])", words))


def test_every_variable_is_tried_here() -> None:
    tried = {words.partition("=")[0] for words, _ in (*SHOWN, *RECEIVED, *IN_THE_STEP)}
    assert tried | ELSEWHERE == {row.name for row in TABLE}
    assert not tried & ELSEWHERE


@pytest.fixture(scope="module")
def _reservation() -> Iterator[None]:
    """A reservation of alice's that takes nothing from anybody."""
    name = "ReservationName=of-the-tests"
    about = ["Users=alice", "StartTime=now", "Duration=60", "NodeCnt=1", "TRES=cpu=1", "Flags=OVERLAP"]
    subprocess.run(["scontrol", "create", name, *about], check=True, capture_output=True, timeout=30)
    yield
    subprocess.run(["scontrol", "delete", name], check=True, capture_output=True, timeout=30)


@pytest.mark.usefixtures("_reservation")
@pytest.mark.parametrize(("words", "shown"), SHOWN)
def test_slurm_shows_what_was_asked_for(container: MakeContainer, words: str, shown: str) -> None:
    one = container("true").created(env=variables(words))
    show = ["scontrol", "--details", "show", "job", str(one.record["job"])]
    fields = subprocess.run(show, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    fields += [f"Exclusive={slurm.job_fields(one.record['job'])['Exclusive']}"]  # also where Slurm has other words
    assert shown in " ".join(fields).split(" ") or any(field.startswith(shown) for field in fields)


@pytest.fixture(scope="module")
def _talkative_slurmctld() -> Iterator[None]:
    """slurmctld logs the requests that it receives."""
    subprocess.run(["scontrol", "setdebug", "debug3"], check=True, timeout=30)
    yield
    subprocess.run(["scontrol", "setdebug", "info"], check=True, timeout=30)


@pytest.mark.usefixtures("_talkative_slurmctld")
@pytest.mark.parametrize(("words", "received"), RECEIVED)
def test_slurmctld_receives_what_was_asked_for(container: MakeContainer, words: str, received: str) -> None:
    before = SLURMCTLD_LOG.stat().st_size
    container("true").created(env=variables(words))
    with SLURMCTLD_LOG.open("rb") as log:
        log.seek(before)
        assert received in log.read().decode("utf-8", "replace")


@pytest.mark.parametrize(("words", "variable"), IN_THE_STEP)
def test_the_step_has_what_was_asked_for(container: MakeContainer, words: str, variable: str) -> None:
    one = container("env").started(env=variables(words))
    assert one.ended() == 0
    assert variable in one.output.decode().splitlines()


def test_root_may_have_slurmstepd_say_more(container: MakeContainer, root: User) -> None:
    one = container("env", user=root).started(env={"SCRUN_SLURMD_DEBUG": "info"})
    assert one.ended() == 0
    assert "SLURMD_DEBUG=3" in one.output.decode().splitlines()


def test_output_is_labelled_on_demand(container: MakeContainer) -> None:
    one = container("echo", "hello").started(env=variables("LABELIO=1 NTASKS=2"))
    assert one.ended() == 0
    assert sorted(one.output.splitlines()) == [b"0: hello", b"1: hello"]


def test_unbuffered_output_comes_before_its_line_ends(container: MakeContainer) -> None:
    one = container("sh", "-c", "printf begun; sleep 1000").started(env=variables("UNBUFFEREDIO=1"))
    one.wait_for_output(b"begun")


@pytest.mark.parametrize("name", ["PROLOG", "EPILOG", "TASK_PROLOG", "TASK_EPILOG"])
def test_programs_run_around_the_container(container: MakeContainer, directory: Path, alice: User, name: str) -> None:
    program = alice.write(directory / "program", f"#!/bin/sh\nhostname >{directory}/ran\n", 0o755)
    one = container("true").started(env={f"SCRUN_{name}": str(program), "SCRUN_JOB_NODELIST": "node2"})
    assert one.ended() == 0
    where = "node2" if name.startswith("TASK") else "login"
    assert (directory / "ran").read_text().strip() == where


def test_this_cluster_may_be_named_and_no_other(container: MakeContainer) -> None:
    container("true").created(env={"SCRUN_CLUSTERS": "devcluster"})
    done = container("true").create(env={"SCRUN_CLUSTERS": "moon"})
    assert done.status == 1
    assert done.stderr.startswith("scrun: SCRUN_CLUSTERS='moon' is not devcluster, the cluster of ")


def test_power_management_is_said_to_have_no_effect(container: MakeContainer) -> None:
    done = container("true").create(env={"SCRUN_POWER": "level", "SCRUN_STDERR_DEBUG": "info"}).ok()
    assert done.stderr == "scrun: SCRUN_POWER has no effect: Slurm manages no power by job any more\n"


@pytest.mark.parametrize(("mode", "kept"), [(None, True), ("append", True), ("truncate", False)])
def test_standard_error_file_is_opened_in_requested_mode(
    container: MakeContainer, mode: str | None, kept: bool
) -> None:
    one = container("sh", "-c", "echo new >&2")
    one.runtime.user.write(one.directory / "stderr", "")  # hers, as her shell would have opened it
    one.begin_create(env={"SCRUN_OPEN_MODE": mode, "SCRUN_PARTITON": "x", "SCRUN_STDERR_DEBUG": "info"})
    assert one.end_create().status == 0
    assert b"SCRUN_PARTITON" in one.errors
    one.call("start").ok()
    assert one.ended() == 0
    assert one.errors.endswith(b"new\n")
    assert (b"SCRUN_PARTITON" in one.errors) == kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("TIMELIMIT=soon", "SCRUN_TIMELIMIT='soon' is not minutes, minutes:seconds, "),
        ("NTASKS=0", "SCRUN_NTASKS='0' is not a whole number from 1"),
        ("EXCLUSIVE=maybe", "SCRUN_EXCLUSIVE='maybe' is not exclusive (or empty), allocation, user"),
        ("PARTITION=moon", "Slurm refused the job: Invalid partition name specified"),
        ("CONSTRAINT=moon", "Slurm refused the job: Invalid feature specification"),
        ("RESERVATION=moon", "Slurm refused the job: Requested reservation is invalid"),
        ("GRES=moon:1", "Slurm refused the job: Invalid generic resource (gres) specification"),
    ],
)
def test_unavailable_request_is_a_one_line_error(container: MakeContainer, words: str, said: str) -> None:
    known = slurm.known_jobs()
    done = container("true").create(env=variables(words))
    assert done.status == 1
    assert done.stderr.startswith(f"scrun: {said}")
    assert done.stderr.count("\n") == 1
    assert slurm.known_jobs() <= known


def test_what_the_step_cant_have_fails_the_start(container: MakeContainer) -> None:
    done = container("true").created(env=variables("MPI_TYPE=moon")).call("start")
    assert done.status == 1
    assert "Invalid MPI type 'moon'" in done.stderr
