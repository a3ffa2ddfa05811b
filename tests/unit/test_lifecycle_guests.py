"""Guests: who is in a container's job is known to it, and ended before the job is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from unchecked import anything

from scrun.lifecycle.container import guests
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import processes, wire

Fork = Callable[..., int]
MakeGuest = Callable[..., Container]


@pytest.fixture
def guest(container: Container, fork: Fork) -> Iterator[MakeGuest]:
    """Makes guests of the container, whose anchors end at one of these signals; each writes down what it got."""
    container.record.update({"status": "running"})
    container.save()
    made: list[Container] = []

    def make(name: str, *ends_at: int, job: int = 7) -> Container:
        one = Container.claim(os.path.dirname(container.path), name)
        listening = _socket(one)
        pid = fork(_be_anchor, one, listening, ends_at)
        os.close(listening)
        one.record = {
            **container.record,
            "id": name,
            "job": job,
            "anchor": pid,
            "anchor_started": processes.start_time(pid),
        }
        one.save()
        assert guests.register(container, one)
        made.append(one)
        return one

    yield make
    for one in made:
        os.close(one.descriptor)


def _socket(one: Container) -> int:
    import _socket

    listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listening.bind(one.child("anchor.sock"))
    listening.listen(8)
    return listening.detach()


def _be_anchor(one: Container, listening: int, ends_at: tuple[int, ...]) -> int:
    import _socket

    server = _socket.socket(fileno=listening)
    while True:
        descriptor, _address = server._accept()  # type: ignore[attr-defined]  # as scrun.lifecycle.container.client does
        message = wire.Reader(descriptor).next(anything)
        assert message
        with open(f"{one.path}/signals", "a") as file:
            file.write(f"{message['signal']}\n")
        wire.send(descriptor, {"sent": message["signal"]})
        os.close(descriptor)
        if message["signal"] in ends_at:
            return 0


def got(one: Container) -> list[int]:
    with open(f"{one.path}/signals") as file:
        return [int(line) for line in file]


def test_guests_are_asked_to_end_then_killed(
    container: Container, guest: MakeGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "GRACE", 0.5)
    polite, stubborn = guest("polite", signal.SIGTERM), guest("stubborn", signal.SIGKILL)
    guests.end(container, 7)
    assert (got(polite), got(stubborn)) == ([signal.SIGTERM], [signal.SIGTERM, signal.SIGKILL])
    assert not any(processes.start_time(one.record["anchor"]) for one in (polite, stubborn))


def test_guests_that_have_left_are_left_alone(container: Container, guest: MakeGuest) -> None:
    guest("left", signal.SIGTERM).remove()
    other = guest("other", signal.SIGTERM, job=8)
    guests.end(container, 7)
    assert processes.start_time(other.record["anchor"])
    assert not os.path.exists(f"{other.path}/signals")


def test_a_reused_anchor_pid_is_not_waited_for(
    container: Container, guest: MakeGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "_LAST", 60.0)  # longer than a test may take
    monkeypatch.setattr(guests, "GRACE", 0.5)
    one = guest("one")
    one.record.update({"anchor": os.getpid(), "anchor_started": 1})
    one.save()
    guests.end(container, 7)


def test_a_new_guest_makes_departed_ones_forgotten(container: Container, guest: MakeGuest) -> None:
    guest("left", signal.SIGTERM).remove()
    guest("new", signal.SIGTERM)
    assert os.listdir(f"{container.path}/guests") == ["new"]


def test_two_guests_at_once_both_forget_departed_ones(
    container: Container, guest: MakeGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest("left", signal.SIGTERM).remove()
    unlink = os.unlink

    def twice(path: str) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        unlink(path)  # the other one was quicker
        unlink(path)

    monkeypatch.setattr(os, "unlink", twice)
    guest("new", signal.SIGTERM)
    assert os.listdir(f"{container.path}/guests") == ["new"]


def test_a_container_that_has_ended_takes_no_guests(container: Container, guest: MakeGuest) -> None:
    one = guest("one", signal.SIGTERM)
    container.record["status"] = "stopped"
    container.save()
    assert not guests.register(container, one)
    container.remove()
    assert not guests.register(container, one)
