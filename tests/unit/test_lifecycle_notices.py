"""What the container's standard error is told of its job."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scrun.lifecycle.anchor.notices import Notices


@pytest.fixture
def said() -> list[str]:
    return []


def notices(said: list[str], *, wanted: bool = True) -> Notices:
    return Notices(SimpleNamespace(record={"job": 7, "notices": wanted}), said.append)  # type: ignore[arg-type]


@pytest.mark.parametrize(("why", "shown"), [("Resources", " (Resources)"), ("None", ""), ("", "")])
def test_a_queued_containers_starter_hears_why_and_when(why: str, shown: str, said: list[str]) -> None:
    one = notices(said)
    one.hear({"waiting": why, "job": 7})
    assert said == [], "a create that waits says so itself"
    one.started()
    one.hear({"waiting": "Priority", "job": 7})
    one.hear({"granted": "n1"})
    assert said == [
        f"job 7 is queued and waiting for resources{shown}",
        "job 7 has been allocated resources: n1",
    ]


def test_a_container_that_needs_not_wait_says_nothing(said: list[str]) -> None:
    one = notices(said)
    one.started()
    one.hear({"waiting": "Resources", "job": 7})
    one.hear({"granted": "n1"})
    one.started()
    one.hear({"log": "info", "message": "something else"})
    assert said == []


def test_each_job_submit_plugin_line_is_told(said: list[str]) -> None:
    notices(said).hear({"notice": "one\ntwo\n"})
    assert said == ["one", "two"]


def test_who_wants_no_notices_gets_none(said: list[str]) -> None:
    one = notices(said, wanted=False)
    one.hear({"notice": "one"})
    one.hear({"waiting": "Resources", "job": 7})
    one.started()
    one.hear({"granted": "n1"})
    assert said == []
