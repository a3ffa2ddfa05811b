"""A container that joins another one's network waits until it is known where that is, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.errors import StagingError
from scrun.lifecycle.container import network
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.worker import joined_network

HOST_NETWORK: Any = {"ociVersion": "1.2.0"}
QUEUED = {"status": "running", "job": 7, "network": network.ENGINE}  # podman has started it
STAGED = {"staged": {}, "network_links": "/tmp/guess", "network_user": [5, 6]}
RUNS = {"network_links": "/tmp/links", "step": "0"}


def find(container: Container, *steps: dict[str, Any]) -> tuple[tuple[str, str, list[int]], list[str]]:
    """What is found if each of these becomes of the other container, one at each look; and what is said meanwhile."""
    left, said = [*steps], list[str]()

    def go_on(_seconds: float = 0) -> None:
        container.record.update(left.pop(0))  # type: ignore[typeddict-item]
        container.save()

    go_on()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", go_on)
        found = joined_network.await_it(container.path, HOST_NETWORK, lambda _level, text: said.append(text))
    assert not left, "it is waited for, to its last change"
    return found, said


def test_what_runs_is_not_waited_for(container: Container) -> None:
    assert find(container, QUEUED | STAGED | RUNS) == ((network.JOINED, "/tmp/links", [5, 6]), [])


def test_a_queued_one_is_waited_for(container: Container) -> None:
    found, said = find(container, QUEUED, {"nodes": "n1"}, STAGED, RUNS)
    assert found == (network.JOINED, "/tmp/links", [5, 6])
    assert said == ["container box, whose network this one joins, is waited for: it isn't running yet"]


def test_one_nobody_has_started_is_not_waited_for(container: Container) -> None:
    assert find(container, QUEUED | STAGED | {"status": "created"})[0] == (network.JOINED, "/tmp/guess", [5, 6])


@pytest.mark.parametrize(
    ("its", "kind"), [(network.NODE, network.NODE), (network.NONE, network.NONE), (network.LATER, network.HOST)]
)
def test_its_node_may_have_another_network(its: str, kind: str, container: Container) -> None:
    assert find(container, QUEUED, STAGED | {"network": its})[0] == (kind, "", [0, 0])


@pytest.mark.parametrize("end", [{"status": "stopped"}, {"pid": 0}])
def test_one_that_ends_ends_the_wait(end: dict[str, Any], container: Container) -> None:
    with pytest.raises(StagingError, match="'box', whose network this one shares, has ended meanwhile"):
        find(container, QUEUED, end)


def test_one_that_is_removed_has_ended(container: Container) -> None:
    with pytest.raises(StagingError, match="has ended meanwhile"):
        joined_network.await_it(f"{container.path}-gone", HOST_NETWORK, lambda _level, _text: None)
