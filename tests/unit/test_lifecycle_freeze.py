"""pause and resume in the anchor: by each node's own runtime where it can, else by the agents' signals."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from fake_agent import SteppedLoop
from played_node import Node, PlayedAnchor

from scrun.lifecycle.anchor import freeze, life
from scrun.lifecycle.container.directory import Container


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container) -> Iterator[PlayedAnchor]:
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


def answer(_message: object) -> None:
    """The caller's."""


def two(anchor: PlayedAnchor) -> list[Node]:
    """A container on two nodes."""
    anchor.record["tasks"] = 2
    anchor.connect()
    anchor.begin()
    return [anchor.ready("n1"), anchor.ready("n2")]


def happens(anchor: PlayedAnchor, begin: Any, *about: object) -> tuple[Any, ...]:
    """What comes of it, once."""
    before = len(anchor.happened)
    begin(anchor, answer, *about)
    anchor.until(lambda: len(anchor.happened) > before)
    anchor.loop.settle()
    (event,) = anchor.happened[before:]
    assert event[1] is answer
    return event


def test_each_nodes_runtime_freezes_its_own_task(anchor: PlayedAnchor) -> None:
    nodes = two(anchor)
    assert happens(anchor, freeze.pause) == ("paused", answer)
    words = 'exec crun --root=/run/user/2000 pause "$SLURMD_NODENAME.alice.42.3.$task"'
    assert [node.commands for node in nodes] == [[["/bin/sh", "-c", words]]] * 2
    assert [node.orders for node in nodes] == [[], []]
    assert anchor.side.is_frozen


def test_what_the_runtime_froze_the_runtime_thaws(anchor: PlayedAnchor) -> None:
    nodes = two(anchor)
    happens(anchor, freeze.pause)
    assert happens(anchor, freeze.resume) == ("resumed", answer)
    assert [" resume " in node.commands[1][2] for node in nodes] == [True, True]
    assert not anchor.side.is_frozen


def test_signals_stop_all_where_one_runtime_cannot_freeze(anchor: PlayedAnchor) -> None:
    nodes = two(anchor)
    nodes[1].run = lambda _words: (1, "cannot freeze: no cgroup\n")
    assert happens(anchor, freeze.pause) == ("paused", answer)
    assert [node.orders for node in nodes] == [["stop"], ["stop"]]
    assert " resume " in nodes[0].commands[1][2], "no signal would stop what is frozen, nor let it go on"
    assert not anchor.side.is_frozen
    assert happens(anchor, freeze.resume) == ("resumed", answer)
    assert [node.orders for node in nodes] == [["stop", "continue"]] * 2


def test_processes_that_cannot_stop_leave_it_half_paused(anchor: PlayedAnchor) -> None:
    nodes = two(anchor)
    for node in nodes:
        node.run = lambda _words: (1, "")
    nodes[1].errno, nodes[1].text = errno.ETIME, "pid 7 does not stop"
    event, _answer, error = happens(anchor, freeze.pause)
    assert event == "half_paused"
    assert str(error) == "container 'box' could not be paused: n2: pid 7 does not stop"


def test_a_half_paused_container_resumes_with_the_reason(anchor: PlayedAnchor) -> None:
    nodes = two(anchor)
    error = RuntimeError("why")
    assert happens(anchor, freeze.undo, error) == ("not_paused", answer, error)
    assert [node.orders for node in nodes] == [["continue"], ["continue"]]


def test_a_resume_that_fails_says_why(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.errno, node.text = errno.EPERM, "Operation not permitted"
    event, _answer, error = happens(anchor, freeze.resume)
    assert (event, str(error)) == ("not_resumed", "container 'box' could not be resumed: n1: Operation not permitted")


def test_a_failed_thaw_leaves_the_container_frozen(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    happens(anchor, freeze.pause)
    node.run = lambda _words: (1, "first\nno such container\n")
    event, _answer, error = happens(anchor, freeze.resume)
    assert (event, str(error)) == ("not_resumed", "container 'box' could not be resumed: n1: no such container")
    assert anchor.side.is_frozen
    assert node.orders == []


def test_an_unknown_runtime_is_not_asked_to_freeze(anchor: PlayedAnchor) -> None:
    anchor.record["runtime"] = {"kind": "crun", "why": "oci.conf names none"}
    node = anchor.running()
    assert happens(anchor, freeze.pause) == ("paused", answer)
    assert (node.commands, node.orders) == ([], ["stop"])


@pytest.mark.parametrize("unconnected", ["", "oci.conf disables hooks that scrun needs"])
def test_without_an_agent_it_can_not_be_paused(unconnected: str, anchor: PlayedAnchor) -> None:
    anchor.record["unconnected"] = unconnected
    if not unconnected:
        anchor.connect()
    event, _answer, error = happens(anchor, freeze.pause)
    why = unconnected or "its nodes can't be reached now"
    assert (event, str(error)) == ("not_paused", f"container 'box' can't be paused: {why}")


def test_a_node_lost_while_pausing_is_not_paused(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.run = lambda _words: None
    before = len(anchor.happened)
    pause: Any = freeze.pause
    pause(anchor, answer)
    anchor.until(lambda: bool(node.commands))
    node.fake.die()
    anchor.until(lambda: len(anchor.happened) >= before + 2)
    assert "paused" not in anchor.events
    assert {"connection_lost", "half_paused"} <= {*anchor.events}


def test_a_frozen_container_out_of_reach_stays_frozen(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    happens(anchor, freeze.pause)
    node.fake.die()
    anchor.until(lambda: "connection_lost" in anchor.events)
    anchor.happened.clear()
    event, _answer, error = happens(anchor, freeze.resume)
    why = "container 'box' could not be resumed: its nodes can't be reached now"
    assert (event, str(error)) == ("not_resumed", why)


@pytest.mark.parametrize(
    ("state", "now"),
    [(life.RUNNING, "starting"), (life.PAUSING, "being paused or resumed"), (life.RELEASING, "stopped")],
)
def test_refusing_to_pause_says_why(state: str, now: str, anchor: PlayedAnchor) -> None:
    answers: list[Any] = []
    anchor.state = state
    freeze.refuse_pause(anchor, answers.append)  # type: ignore[arg-type]
    assert now in answers[0]["message"]


@pytest.mark.parametrize(("state", "now"), [(life.RESUMING, "being resumed"), (life.OWING, "stopped")])
def test_refusing_to_resume_says_why(state: str, now: str, anchor: PlayedAnchor) -> None:
    answers: list[Any] = []
    anchor.state = state
    freeze.refuse_resume(anchor, answers.append)  # type: ignore[arg-type]
    assert now in answers[0]["message"]
