"""A suspended job: its state is asked for in a worker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scrun.lifecycle.anchor import suspended


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([{"state": "SUSPENDED"}], "SUSPENDED"),
        ([], ""),
        ([{"error": "SlurmUnreachable", "message": "down"}], ""),
    ],
)
def test_a_worker_asks_for_the_jobs_state(answers: list[Any], state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        """Says that, and ends."""

        def __init__(
            self, _loop: Any, _container: Any, work: str, _check: Any, *, said: Any, ended: Callable[[], None]
        ) -> None:
            assert work == "look"
            self._said, self._ended = said, ended

        def send(self, message: dict[str, Any]) -> None:
            assert message == {"job": 7, "state": True}
            for answer in answers:
                self._said(answer)
            self._ended()

    monkeypatch.setattr(suspended, "Worker", Worker)
    told: list[str] = []
    anchor: Any = SimpleNamespace(loop=None, container=None, record={"job": 7})
    suspended.ask(anchor, told.append)
    assert told == [state]
