"""kill: the names of signals, and a signal's way from the anchor to the container's nodes."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from fake_agent import ANSWER, SIGNAL, SteppedLoop
from played_node import PlayedAnchor

from scrun.errors import UsageError, WrongStatus
from scrun.lifecycle.anchor import signals
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import kill


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("0", 0), ("9", 9), ("15", 15), ("64", 64), ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigterm", 15)],
        *[("KILL", 9), ("USR1", 10), ("SIGWINCH", 28), ("RTMIN", 34), ("SIGRTMAX", 64)],
        *[("RTMIN+3", 37), ("SIGRTMIN+30", 64), ("rtmax-2", 62), ("SIGRTMAX-0", 64)],
        *[(each.name, each.value) for each in signal.Signals],
    ],
)
def test_a_signal_is_known_by_number_or_name(name: str, number: int) -> None:
    assert kill.signal_number(name) == number
    assert type(kill.signal_number(name)) is int


@pytest.mark.parametrize(
    "name",
    [
        *("RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMAX-", "RTMIN+x", "RTMIN+-1", "RTMINX", "SIG9"),
        *("", "NOSUCH", "SIG", "65", "999999", "-9", "9.5", " 9", "_DFL", "SIG_DFL", "SIGNAL", "SIGSIGTERM", "²"),
        "9" * 5000,
    ],
)
def test_the_error_names_an_unknown_signal(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown signal {name!r}")):
        kill.signal_number(name)


@pytest.mark.parametrize("written", ["creating", "stopped"])
def test_a_container_not_running_refuses_signals_like_docker(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"'box': container not running: it is {written}"):
        kill.send_signal(container, 15)


def test_an_ended_container_accepts_signals_for_all_processes(container: Container) -> None:
    container.record["status"] = "stopped"
    container.save()
    kill.send_signal(container, 0, is_for_all=True)
    container.record["status"] = "creating"
    container.save()
    with pytest.raises(WrongStatus, match="it is creating"):
        kill.send_signal(container, 0, is_for_all=True)


@pytest.mark.parametrize("written", ["created", "running", "paused"])
def test_without_an_anchor_no_signal_is_sent(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match="container not running: its anchor is gone"):
        kill.send_signal(container, 15)


# --- the anchor's side


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedAnchor]:
    for name in ("_PAUSE", "_THAW"):
        monkeypatch.setattr(signals, name, 0.01)
    monkeypatch.setattr(signals, "_PATIENCE", 0.05)
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


def deliver(anchor: PlayedAnchor, number: int) -> list[Any]:
    """Have a signal sent; the list gets the answer."""
    answers: list[Any] = []
    signals.deliver(anchor, number, answers.append)  # type: ignore[arg-type]
    return answers


def answer_to(anchor: PlayedAnchor, number: int) -> Any:
    answers = deliver(anchor, number)
    anchor.until(lambda: bool(answers))
    anchor.loop.settle()
    (answer,) = answers
    return answer


NOT_RUNNING = {"error": "WrongStatus", "message": "cannot kill container 'box': container not running"}


def test_a_signal_is_answered_only_after_it_arrives(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.errno = -1
    answers = deliver(anchor, 15)
    anchor.until(lambda: node.signals == [(0, 15, False)])
    assert answers == []
    (frame,) = node.fake.sent(SIGNAL)
    node.fake.send(ANSWER, 0, frame.payload[:4] + bytes(4))
    anchor.until(lambda: bool(answers))
    assert answers == [{"sent": 15}]


def test_signal_0_asks_no_node(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    assert answer_to(anchor, 0) == {"sent": 0}
    assert node.signals == []


def test_each_node_gets_signals_and_may_have_ended(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.connect()
    nodes = [anchor.ready("n1"), anchor.ready("n2")]
    nodes[1].errno = errno.ESRCH
    assert answer_to(anchor, 10) == {"sent": 10}
    assert [node.signals for node in nodes] == [[(0, 10, False)]] * 2


def test_a_nodes_refusal_is_told_with_its_reason(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.errno, node.text = errno.EPERM, "Operation not permitted"
    answer = answer_to(anchor, 10)
    assert answer["error"] == "NodeRuntimeError"
    assert answer["message"] == "signal 10 did not reach container 'box': n1: Operation not permitted"


def test_one_refusing_node_is_enough_for_an_error(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.connect()
    nodes = [anchor.ready("n1"), anchor.ready("n2")]
    nodes[1].errno = errno.EPERM
    assert answer_to(anchor, 10)["message"].endswith("n2: it is refused")


def test_a_process_that_just_ended_counts_as_reached(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.errno = errno.ESRCH
    answers = deliver(anchor, 15)
    anchor.loop.after(0.03, lambda: anchor.record.update({"exit_status": 0}))
    anchor.until(lambda: bool(answers))
    assert answers == [{"sent": 15}]


def test_a_missing_process_gets_no_signal(anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PAUSE", 0)
    node = anchor.running()
    node.errno = errno.ESRCH
    assert answer_to(anchor, 15) == NOT_RUNNING


def test_a_signal_waits_for_an_agent_still_coming(anchor: PlayedAnchor) -> None:
    anchor.connect()
    answers = deliver(anchor, 10)
    anchor.loop.settle()
    assert answers == []
    node = anchor.ready()
    anchor.until(lambda: bool(answers))
    assert (answers, node.signals) == ([{"sent": 10}], [(0, 10, False)])


def test_the_containers_end_answers_a_waiting_signal(anchor: PlayedAnchor) -> None:
    anchor.connect()
    answers = deliver(anchor, 10)
    anchor.loop.settle()
    anchor.record["exit_status"] = 137
    anchor.until(lambda: bool(answers))
    assert answers == [{"sent": 10}]


def test_a_lost_connection_answers_too(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.errno = -1
    answers = deliver(anchor, 15)
    anchor.until(lambda: bool(node.signals))
    node.fake.die()
    anchor.until(lambda: "connection_lost" in anchor.events)
    anchor.record["exit_status"] = 137
    anchor.until(lambda: bool(answers))
    assert answers == [{"sent": 15}]


def test_unanswered_signal_counts_as_sent_and_arrives_later(
    anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_SLOW", 0.01)
    node = anchor.running()
    node.errno = -1
    answers = deliver(anchor, 15)
    anchor.until(lambda: bool(answers))
    assert answers == [{"sent": 15}]
    assert anchor.logged[-1] == "signal 15 waits, because no answer comes from n1"
    (frame,) = node.fake.sent(SIGNAL)
    node.fake.send(ANSWER, 0, frame.payload[:4] + bytes(4))
    anchor.loop.settle()
    assert (answers, len(node.signals)) == ([{"sent": 15}], 1), "once"


def test_without_an_agent_only_sigkill_is_accepted(anchor: PlayedAnchor) -> None:
    anchor.record["unconnected"] = "oci.conf disables hooks that scrun needs"
    assert answer_to(anchor, 15) == {
        "error": "NodeRuntimeError",
        "message": "signal 15 can't be sent to container 'box': oci.conf disables hooks that scrun needs: "
        "SIGKILL ends it",
    }


def force(anchor: PlayedAnchor) -> None:
    anchor.forced = 137
    signals.force(anchor, anchor.step)  # type: ignore[arg-type]


def test_a_sigkill_reaches_all_and_ends_the_step(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    force(anchor)
    anchor.until(lambda: node.signals == [(0, 9, True)])
    assert anchor.step.ends == []


@pytest.mark.parametrize(("owned", "grace"), [(True, 1.5), (False, None)])
def test_srun_ends_a_step_that_lingers(owned: bool, grace: float | None, anchor: PlayedAnchor) -> None:
    anchor.record["job_owned"] = owned
    node = anchor.running()
    force(anchor)
    anchor.until(lambda: bool(anchor.step.ends))
    assert (anchor.step.ends, len(node.signals)) == ([grace], 1)


def test_unanswered_sigkill_is_not_waited_for(anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PATIENCE", 0.01)
    anchor.running().errno = -1
    force(anchor)
    anchor.until(lambda: bool(anchor.step.ends))
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    assert done == [True]


@pytest.mark.parametrize("there", [True, False])
def test_without_an_agent_sigkill_ends_the_step(
    there: bool, anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_PATIENCE", 3600.0)
    if there:
        anchor.connect()
    force(anchor)
    assert anchor.step.ends == [1.5]


def test_an_agent_failing_to_kill_ends_the_step(anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PATIENCE", 3600.0)
    node = anchor.running()
    node.errno = errno.EPERM
    force(anchor)
    anchor.until(lambda: bool(anchor.step.ends))


def test_what_is_frozen_is_thawed_to_die(anchor: PlayedAnchor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PATIENCE", 3600.0)
    node = anchor.running()
    anchor.side.is_frozen = True
    anchor.record["status"] = "paused"
    force(anchor)
    anchor.until(lambda: bool(node.commands))
    assert " resume " in node.commands[0][2]


def test_an_early_kill_reaches_the_container_later(
    anchor: PlayedAnchor,
) -> None:
    node = anchor.running()
    signals.force_late(anchor)  # type: ignore[arg-type]
    anchor.until(lambda: node.signals == [(0, 9, True)])
