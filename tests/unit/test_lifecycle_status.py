"""Which operation is allowed in which status: the whole matrix."""

from __future__ import annotations

import pytest

from scrun.lifecycle.container import status

# What the runtime-spec (runtime.md, Operations) allows, with runc's "paused"; delete always, as scrun(1) says.
ALLOWED = {
    status.can_start: {"created"},
    status.can_kill: {"created", "running", "paused"},
    status.can_pause: {"running"},
    status.can_resume: {"paused"},
    status.can_update: {"created", "running", "paused"},
    status.can_watch: {"created", "running", "paused"},
    status.can_ps: {"running", "paused"},
    status.can_exec: {"running"},
}


def test_statuses_are_the_specifications_ones_plus_paused() -> None:
    assert status.ALL == ("creating", "created", "running", "paused", "stopped")


@pytest.mark.parametrize("now", [*status.ALL, status.ENDING])
@pytest.mark.parametrize("predicate", ALLOWED)
def test_an_operation_is_allowed_only_in_its_statuses(predicate: object, now: str) -> None:
    assert callable(predicate)
    assert predicate(now) is (now in ALLOWED[predicate])


def test_every_predicate_has_a_row_in_the_matrix() -> None:
    assert set(ALLOWED) == {value for name, value in vars(status).items() if name.startswith("can_")}
