"""MPI programs: the tasks of a container find each other by PMI-2, across nodes, and share memory on one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .rootfs import Config
from .users import User

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


def test_tasks_of_a_container_meet_through_pmi2(container: MakeContainer) -> None:
    one = container("sh", "-c", PMI2, env=VARIABLES).started()
    assert one.ended() == 0, one.errors
    assert sorted(one.output.decode().splitlines()) == EXPECTED


def test_so_they_do_in_an_engines_container(main_engine: Engine) -> None:
    variables = [word for variable in VARIABLES for word in ("-e", variable)]
    done = main_engine.run("sh", "-c", PMI2, options=("--rm", *variables)).ok()
    assert sorted(done.stdout.splitlines()) == EXPECTED


# All that a program asks of MPI, with the numbers that mpi.h of MPICH's family has for it.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
extern int MPI_Init(int *, char ***), MPI_Comm_rank(int, int *), MPI_Comm_size(int, int *), MPI_Finalize(void);
extern int MPI_Allreduce(const void *, void *, int, int, int, int);
int main(int argc, char **argv) {
    enum { WORLD = 0x44000000, INT = 0x4c000405, SUM = 0x58000003 };
    int rank, size, sum;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(WORLD, &rank);
    MPI_Comm_size(WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, INT, SUM, WORLD);
    printf("rank %d of %d on %s: the sum is %d\n", rank, size, getenv("SLURMD_NODENAME"), sum);
    return MPI_Finalize();
}
"""
MPICH = Path("/opt/mpich/usr")


@pytest.fixture
def mpich(alice: User, directory: Path) -> Callable[[Config], None]:
    """A change of a config: the container has MPICH, and a program of it, in /mpich; what it needs of /sys as well."""
    (libraries,) = (MPICH / "lib").iterdir()
    mpich = alice.mkdir(directory / "mpich")
    alice.write(directory / "program.c", PROGRAM)
    options = ("-o", f"{mpich}/program", f"{directory}/program.c", f"-L{libraries}", "-l:libmpich.so.12")
    alice.run("gcc", *options, f"-Wl,-rpath-link={libraries}").ok()
    for name in ("mpiexec.hydra", "hydra_pmi_proxy"):
        shutil.copy(MPICH / "bin" / name, mpich)
    linked = alice.run("ldd", *map(str, mpich.iterdir()), env={"LD_LIBRARY_PATH": str(libraries)}).ok().stdout
    for path in {word for word in linked.split() if word.startswith("/") and not word.endswith(":")}:
        shutil.copy(path, mpich)
    shutil.copytree(libraries / "ucx", mpich / "ucx")

    def change(config: Config) -> None:
        config["process"]["env"] += ["LD_LIBRARY_PATH=/mpich", "UCX_LOG_LEVEL=error"]
        for destination in ("/mpich", "/lib64"):  # where a program's loader is looked for
            bind = {"destination": destination, "type": "bind", "source": str(mpich), "options": ["rbind", "ro"]}
            config["mounts"].append(bind)
        own = ["nosuid", "noexec", "nodev", "mode=1777"]
        config["mounts"].append({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": own})
        config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]})

    return change


def test_an_mpich_program_runs_on_two_nodes(container: MakeContainer, mpich: Callable[[Config], None]) -> None:
    one = container("/mpich/program", env=VARIABLES, change=mpich).started()
    assert one.ended() == 0, one.errors
    lines = [f"rank {rank} of 4 on node{1 + rank // 2}: the sum is 6" for rank in range(4)]
    assert sorted(one.output.decode().splitlines()) == lines


def test_mpiexec_in_a_container_starts_ranks_there(container: MakeContainer, mpich: Callable[[Config], None]) -> None:
    # Without the variable it sees a job of Slurm's, and looks for srun to start them with.
    one = container("/mpich/mpiexec.hydra", "-n", "2", "/mpich/program", env=["HYDRA_LAUNCHER=fork"], change=mpich)
    assert one.started().ended() == 0, one.errors
    lines = [line.split(" on ")[0] for line in sorted(one.output.decode().splitlines())]
    assert lines == ["rank 0 of 2", "rank 1 of 2"]


@pytest.mark.parametrize("options", [("--ipc=host",), ("-e", "SCRUN_MPI_TYPE=pmi2")])
def test_tasks_on_a_node_share_memory_when_requested(main_engine: Engine, options: tuple[str, ...]) -> None:
    script = (
        "f=/dev/shm/shared-$SLURM_JOB_ID; [ $SLURM_PROCID = 1 ] && echo here >$f; until cat $f; do sleep 0.1; done 2>&-"
    )
    done = main_engine.run("sh", "-c", script, options=("--rm", *options, "-e", "SCRUN_NTASKS=2")).ok()
    slurm.on_nodes("rm -f /dev/shm/shared-*")
    assert done.stdout == "here\nhere\n"


def test_a_single_task_has_memory_of_its_own(main_engine: Engine) -> None:
    script = "echo here >/dev/shm/shared-$SLURM_JOB_ID"
    main_engine.run("sh", "-c", script, options=("--rm", "-e", "SCRUN_MPI_TYPE=pmi2")).ok()
    assert not [name for name in slurm.on_nodes("ls /dev/shm") if name.startswith("shared-")]


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
