"""A suspended job: the state is asked for, and a signal is sent when the job goes on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scrun.errors import NodeRuntimeError
from scrun.lifecycle.anchor import signals, suspended
from scrun.lifecycle.process.loop import Loop


@pytest.fixture
def states() -> list[dict[str, Any]]:
    """What the next workers will say."""
    return []


@pytest.fixture
def anchor(loop: Loop, states: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    class Worker:
        """Says the next of the states, and ends."""

        def __init__(
            self,
            _loop: Loop,
            _container: object,
            work: str,
            _check: Any,
            *,
            said: Callable[[Any], None],
            ended: Callable[[], None],
        ) -> None:
            assert work == "look"
            self._said, self._ended = said, ended

        def send(self, message: dict[str, Any]) -> None:
            assert message == {"job": 7, "state": True}
            if state := states.pop(0):
                self._said(state)
            self._ended()

    monkeypatch.setattr(suspended, "Worker", Worker)
    monkeypatch.setattr(suspended, "_FIRST_LOOK_AGAIN", 0.001)
    logged: list[str] = []
    return SimpleNamespace(
        loop=loop, container=None, record={"job": 7}, logged=logged, log=lambda _level, text: logged.append(text)
    )


def test_a_signal_is_sent_once_when_the_job_goes_on(
    anchor: SimpleNamespace, states: list[dict[str, Any]], loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def send(_anchor: object, number: int, _done: object) -> int:
        sent.append(number)
        loop.stop()
        return 1

    monkeypatch.setattr(signals, "send_on_node", send)
    # Neither no answer nor an error says that the job goes on.
    states += [{"state": "SUSPENDED"}, {}, {"error": "SlurmUnreachable", "message": "down"}, {"state": "RUNNING"}]
    signals.deliver_later(anchor, 15)
    loop.run()
    assert (sent, states) == ([15], [])


def test_a_container_that_has_ended_needs_no_signal(anchor: SimpleNamespace, loop: Loop) -> None:
    anchor.record["exit_status"] = 137
    signals.deliver_later(anchor, 15)
    loop.after(0.05, loop.stop)
    loop.run()


def test_what_can_not_be_sent_is_logged(
    anchor: SimpleNamespace, states: list[dict[str, Any]], loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_given: object) -> int:
        loop.stop()
        raise NodeRuntimeError("oci.conf doesn't say how")

    monkeypatch.setattr(signals, "send_on_node", send)
    states.append({"state": "RUNNING"})
    signals.deliver_later(anchor, 15)
    loop.run()
    assert anchor.logged == ["oci.conf doesn't say how"]
