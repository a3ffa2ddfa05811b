"""The types of what slurmctld answers, for type checkers alone; import it under ``TYPE_CHECKING``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Required, TypedDict

    class Allocation(TypedDict, total=False):
        """A job, and what was allocated to it. Of a queued job only ``job`` and ``nodes`` are there."""

        job: Required[int]  # the job's id
        nodes: Required[str]  # as Slurm writes them: node[1-3]; empty while the job is queued
        node_count: int
        uid: int  # the job's user and group
        gid: int
        user: str
        group: str
        partition: str
        notice: str  # a job_submit plugin's message for the user
        environment: list[str]  # libslurm's part of the job's environment, NAME=VALUE

    class JobState(TypedDict):
        """A job as squeue(1) shows it, in squeue's words."""

        state: str
        reason: str  # why a queued job waits
        partition: str
        container: str  # ContainerID
        tres: str  # all of its resources: cpu=2,mem=100M
        submitted: int  # seconds since 1970
