"""What is said of nodes that Slurm has taken out of service; that they are found is for the integration tests."""

from __future__ import annotations

import pytest

from scrun.errors import JobRefused, ScrunError, SlurmUnreachable, StagingError, UsageError
from scrun.lifecycle.anchor import trouble
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process.loop import Loop


@pytest.mark.parametrize(
    ("job", "error"), [(None, JobRefused("no")), (7, UsageError("no")), (7, SlurmUnreachable("no"))], ids=str
)
def test_an_error_no_node_causes_is_told_immediately(
    job: int | None, error: ScrunError, loop: Loop, container: Container
) -> None:
    if job:
        container.record["job"] = job
    told: list[ScrunError] = []
    trouble.explain(loop, container, error, told.append)
    assert told == [error]


def test_an_error_is_told_unchanged_without_slurm(until_a_child_has_gone: Loop, container: Container) -> None:
    container.record.update({"job": 7, "nodes": "n1"})
    error, told = StagingError("no answer"), list[ScrunError]()
    trouble.explain(until_a_child_has_gone, container, error, told.append)
    until_a_child_has_gone.run()
    assert told == [error]


def test_a_few_nodes_are_named_others_are_counted() -> None:
    assert "taken n1 (Prolog error), n2 (Not responding) out of service" in trouble._words(
        {"n1": "Prolog error", "n2": "Not responding"}
    )
    assert "n5 (x) and 3 more out" in trouble._words({f"n{number}": "x" for number in range(1, 9)})
