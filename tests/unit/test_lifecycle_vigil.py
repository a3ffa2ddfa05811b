"""The vigil over the job of a container that waits for its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fake_agent import SteppedLoop
from played_node import PlayedAnchor

from scrun.lifecycle.anchor import vigil
from scrun.lifecycle.container.directory import Container


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedAnchor]:
    """One whose container is created, and that looks all the time."""
    monkeypatch.setattr(vigil, "_FIRST_PAUSE", 0.001)
    made = PlayedAnchor(stepped, container, status="created")
    yield made
    made.close()


@pytest.fixture
def orders(anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers are told to look at; each finds that the job has gone."""
    sent: list[Any] = []

    class FakeWorker:
        def __init__(self, *_: Any, said: Any, ended: Any) -> None:
            self._said, self._ended = said, ended

        def send(self, order: Any) -> None:
            sent.append(order)
            self._said({"gone": True})
            anchor.loop.after(0, self._ended)

    monkeypatch.setattr(vigil, "Worker", FakeWorker)
    return sent


def test_a_job_that_has_gone_ends_the_container(anchor: PlayedAnchor, orders: list[Any]) -> None:
    anchor.record["job"] = 5
    vigil.keep(anchor)  # type: ignore[arg-type]
    anchor.until(lambda: "hopeless" in anchor.events)
    assert orders == [{"job": 5}]


def test_a_job_may_come_late(anchor: PlayedAnchor, orders: list[Any]) -> None:
    anchor.record.pop("job", None)
    vigil.keep(anchor)  # type: ignore[arg-type]
    anchor.loop.settle()
    assert orders == []
    anchor.record["job"] = 5
    anchor.until(lambda: "hopeless" in anchor.events)
    assert orders == [{"job": 5}]
