"""Every operation in every status, those that must be refused included (runtime-spec, runtime.md, Lifecycle)."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .conftest import MakeContainer
from .oci import Container
from .users import Done
from .waiting import wait_until

GONE = "gone"


class Move(NamedTuple):
    """One operation in one status: the words it is refused with, if it is, and the status afterwards."""

    status: str
    operation: str
    refusal: str
    afterwards: str


MATRIX: tuple[Move, ...] = (
    Move("creating", "state", "", "creating"),
    Move("creating", "create", "already exists", "creating"),
    Move("creating", "start", "it is creating, not created", "creating"),
    Move("creating", "kill", "container not running", "creating"),
    Move("creating", "delete", "", GONE),
    Move("created", "state", "", "created"),
    Move("created", "create", "already exists", "created"),
    Move("created", "start", "", "running"),
    Move("created", "kill", "", "stopped"),
    Move("created", "delete", "", GONE),
    Move("running", "state", "", "running"),
    Move("running", "create", "already exists", "running"),
    Move("running", "start", "it is running, not created", "running"),
    Move("running", "kill", "", "stopped"),
    Move("running", "delete", "", GONE),
    Move("stopped", "state", "", "stopped"),
    Move("stopped", "create", "already exists", "stopped"),
    Move("stopped", "start", "it is stopped, not created", "stopped"),
    Move("stopped", "kill", "container not running", "stopped"),
    Move("stopped", "delete", "", GONE),
    Move(GONE, "state", "does not exist", GONE),
    Move(GONE, "create", "", "created"),
    Move(GONE, "start", "does not exist", GONE),
    Move(GONE, "kill", "does not exist", GONE),
    Move(GONE, "delete", "does not exist", GONE),
)

# pause and resume are runc's and crun's; the rest of these only look, or change nothing.
_NOT_RUNNING = "container not running: it is {status}"
_NOT_PAUSED = "container not paused: it is {status}"
_LOOKING = {
    "ps": (("running", "paused"), _NOT_RUNNING),
    "update": (("created", "running", "paused"), _NOT_RUNNING),
    "events": (("created", "running", "paused"), _NOT_RUNNING),
}
MATRIX += (
    Move("paused", "state", "", "paused"),
    Move("paused", "create", "already exists", "paused"),
    Move("paused", "start", "it is paused, not created", "paused"),
    Move("paused", "kill", "", "stopped"),
    Move("paused", "delete", "", GONE),
    Move("running", "pause", "", "paused"),
    Move("paused", "resume", "", "running"),
    *(Move(now, "pause", _NOT_RUNNING.format(status=now), now) for now in ("creating", "created", "paused", "stopped")),
    *(
        Move(now, "resume", _NOT_PAUSED.format(status=now), now)
        for now in ("creating", "created", "running", "stopped")
    ),
    *(
        Move(now, operation, "" if now in allowed else refusal.format(status=now), now)
        for operation, (allowed, refusal) in _LOOKING.items()
        for now in ("creating", "created", "running", "paused", "stopped")
    ),
    *(Move(GONE, operation, "does not exist", GONE) for operation in ("pause", "resume", *_LOOKING)),
)

# What other runtimes need not do as we do: crun takes these without complaint, or in words of its own; and it pauses,
# and lists processes, by the cgroup that a user hasn't got here.
OURS = (("running", "delete"), ("created", "delete"))
OF_CGROUPS = ("pause", "resume", *_LOOKING)


@pytest.mark.parametrize("move", MATRIX, ids=lambda move: f"{move.operation}-when-{move.status}")
def test_an_operation_in_a_status(move: Move, container: MakeContainer, request: pytest.FixtureRequest) -> None:
    one = container("sleep", "1000")
    if not one.runtime.is_scrun and (move.status == "creating" or move[:2] in OURS):
        pytest.skip("crun: never creating for long; deletes only what is stopped")
    if not one.runtime.is_scrun and (move.status == "paused" or move.operation in OF_CGROUPS):
        pytest.skip("crun: not without a cgroup")
    bring_to(move.status, one, request)

    done = operate(one, move.operation)

    assert bool(done.status) == bool(move.refusal), done.stderr
    if move.refusal:
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
        assert done.status == 1
    if one.runtime.is_scrun:
        assert move.refusal in done.stderr
    if move.afterwards == GONE:
        wait_until(lambda: not one.path.exists(), "its anchor has done what was owed")
    else:
        one.wait_for(move.afterwards)


def bring_to(status: str, one: Container, request: pytest.FixtureRequest) -> None:
    """Have the container be in that status."""
    if status == "creating":
        request.getfixturevalue("held_node")
        one.begin_create(env={"SCRUN_JOB_NODELIST": "node2"})
        one.wait_until_queued()
    elif status != GONE:
        one.created()
        if status != "created":
            one.call("start").ok()
        if status == "stopped":
            one.call("kill", "KILL").ok()
        if status == "paused":
            one.call("pause").ok()
        one.wait_for(status)


def operate(one: Container, operation: str) -> Done:
    """Call the operation; a kill is a certain one."""
    if operation == "create":
        return one.runtime.run("create", "--bundle", str(one.bundle), one.id)
    if operation == "events":
        return one.call(operation, options=["--stats"])
    return one.call(operation, *(["KILL"] if operation == "kill" else []))
