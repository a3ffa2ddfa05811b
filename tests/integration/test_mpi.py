"""An MPI library's start: the tasks of a container find each other by PMI-2, across nodes."""

from __future__ import annotations

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine

pytestmark = pytest.mark.slurm_only("starts no tasks")

# What an MPI library does at its start, in the wire protocol of PMI-2: a line each way to agree on the version, then
# messages that begin with their length in six characters. Each task publishes a word, and reads its neighbour's.
PMI2 = r"""
eval "exec 8<&$PMI_FD 9>&$PMI_FD" || exit 1
ask() {
    printf '%6d%s' ${#1} "$1" >&9
    length=$(dd bs=1 count=6 <&8 2>/dev/null)
    dd bs=1 count=$((length)) <&8 2>/dev/null
}
printf 'cmd=init pmi_version=2 pmi_subversion=0\n' >&9
read -r version <&8
ask "cmd=fullinit;pmijobid=0;pmirank=$PMI_RANK;threaded=FALSE;" >/dev/null
ask "cmd=kvs-put;key=$PMI_RANK;value=$SLURMD_NODENAME;" >/dev/null
ask "cmd=kvs-fence;" >/dev/null
answer=$(ask "cmd=kvs-get;jobid=0;srcid=-1;key=$(((PMI_RANK + 1) % PMI_SIZE));")
answer=${answer#*value=}
echo "task $PMI_RANK of $PMI_SIZE on $SLURMD_NODENAME has its neighbour on ${answer%;}"
ask "cmd=finalize;" >/dev/null
"""
EXPECTED = [
    "task 0 of 4 on node1 has its neighbour on node1",
    "task 1 of 4 on node1 has its neighbour on node2",
    "task 2 of 4 on node2 has its neighbour on node2",
    "task 3 of 4 on node2 has its neighbour on node1",
]
VARIABLES = ("SCRUN_JOB_NUM_NODES=2", "SCRUN_NTASKS_PER_NODE=2", "SCRUN_MPI_TYPE=pmi2")


def test_the_tasks_of_a_container_find_each_other_by_pmi2(container: MakeContainer) -> None:
    one = container("sh", "-c", PMI2, env=VARIABLES).started()
    assert one.ended() == 0, one.errors
    assert sorted(one.output.decode().splitlines()) == EXPECTED


def test_so_they_do_in_an_engines_container(main_engine: Engine) -> None:
    variables = [word for variable in VARIABLES for word in ("-e", variable)]
    done = main_engine.run("sh", "-c", PMI2, options=("--rm", *variables)).ok()
    assert sorted(done.stdout.splitlines()) == EXPECTED


def test_tasks_on_a_node_share_its_memory_when_asked_to(main_engine: Engine) -> None:
    script = (
        "f=/dev/shm/scrun-$SLURM_JOB_ID; [ $SLURM_PROCID = 1 ] && echo here >$f; until cat $f; do sleep 0.1; done 2>&-"
    )
    done = main_engine.run("sh", "-c", script, options=("--rm", "--ipc=host", "-e", "SCRUN_NTASKS=2")).ok()
    slurm.on_nodes("rm -f /dev/shm/scrun-*")
    assert done.stdout == "here\nhere\n"


def test_a_container_inherits_nothing_else_of_the_node(container: MakeContainer) -> None:
    # oci.conf has crun pass on what is open; that must be Slurm's socket alone.
    one = container("sh", "-c", "echo $PMI_FD; ls /proc/1/fd; true", env=VARIABLES[2:]).started()
    assert one.ended() == 0
    number, *descriptors = one.output.decode().split()
    assert sorted(descriptors, key=int) == ["0", "1", "2", number]


def test_without_mpi_a_container_inherits_nothing(container: MakeContainer) -> None:
    one = container("sh", "-c", "ls /proc/1/fd; true").started()
    assert one.ended() == 0
    assert one.output == b"0\n1\n2\n"
