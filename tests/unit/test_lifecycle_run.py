"""run: the exit statuses of what could not be run."""

from __future__ import annotations

import pytest

from scrun.errors import ExecutableNotFound, ExecutableNotPermitted, ScrunError, SlurmError
from scrun.lifecycle.operations import run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ExecutableNotFound("x"), 127),
        (ExecutableNotPermitted("x"), 126),
        (SlurmError("x"), 125),
        (ScrunError("x"), 125),
    ],
)
def test_they_are_those_of_docker_run(error: ScrunError, status: int) -> None:
    assert run._status_of(error) == status
