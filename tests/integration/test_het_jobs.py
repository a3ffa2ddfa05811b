"""Containers in a heterogeneous job: in its first component, and nowhere else."""

from __future__ import annotations

import pytest

from . import slurm
from .engines import Engine

pytestmark = pytest.mark.slurm_only("has no job")

HET = ("salloc", "--quiet", "--nodes=1", "--ntasks=2", "--nodelist=node1", ":", "--nodes=1", "--nodelist=node2")
WHERE = "echo $SLURM_JOB_ID $SLURMD_NODENAME $SLURM_NTASKS"


def test_only_the_first_component_runs_a_container(podman: Engine) -> None:
    # One test: Slurm starts heterogeneous jobs by its backfill scheduler only, every half minute.
    run = 'podman run --rm --runtime=scrun $more localhost/busybox sh -c "$1"'
    script = f"""
        echo "$SLURM_JOB_ID"
        more=; {run}
        more='-e SCRUN_NTASKS=2'; {run}
        more="-e SLURM_JOB_ID=$SLURM_JOB_ID_HET_GROUP_1"; {run}; echo $?
    """
    done = podman.user.run(*HET, "sh", "-c", script, "sh", WHERE, timeout=150)
    job, *said = done.stdout.splitlines()
    assert said == [f"{job} node1 1", *[f"{job} node1 2"] * 2, "126"]
    assert f"is component 1 of the heterogeneous job {job}" in done.stderr
    assert slurm.containers_on_nodes(int(job)) == []
