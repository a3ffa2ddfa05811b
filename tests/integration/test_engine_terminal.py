"""docker and podman at a person's terminal: its size, its keys, attaching and detaching."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .engines import Engine
from .sessions import Session
from .waiting import wait_until

PROMPT = "[#$] "

Open = Callable[..., Session]


@pytest.fixture
def session(main_engine: Engine) -> Iterator[Open]:
    """Opens terminals with a call of the engine's in them; whatever still runs there is hung up."""
    opened: list[Session] = []

    def begin(*words: str, size: tuple[int, int] = (24, 80)) -> Session:
        opened.append(Session(main_engine.user, main_engine.program, *words, env=main_engine.env, size=size))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def test_container_knows_the_windows_initial_and_changed_size(main_engine: Engine, session: Open) -> None:
    script = "stty size; trap 'stty size' WINCH; trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done"
    one = session(*main_engine.words("--rm", "-it", command=("sh", "-c", script)), size=(33, 111))
    one.expect("33 111\r\n", 60)
    one.expect("ready")

    def is_told() -> bool:
        # docker's client misses a change that comes between its first look and its waiting for one, with runc as well.
        one.resize(24, 80)
        one.resize(25, 91)
        return one.shows_within(b"25 91\r\n", 3.0)

    wait_until(is_told, "the container is told of another size")
    one.resize(50, 132)
    one.expect("50 132\r\n")
    one.type(b"\x03")
    assert one.ended() == 5


def test_ctrl_z_suspends_and_ctrl_d_ends(main_engine: Engine, session: Open) -> None:
    one = session(*main_engine.words("--rm", "-it", command=("sh",)))
    one.expect(PROMPT, 60)
    one.type("sh -c 'echo sleeping; exec sleep 1000'\r")
    one.expect("sleeping\r\n")
    one.type(b"\x1a")
    one.expect("Stopped")
    one.expect(PROMPT)
    one.type("kill %1; fg\r")
    one.expect(PROMPT)
    one.type("(exit 5)\r")
    one.expect(PROMPT)
    one.type(b"\x04")
    assert one.ended() == 5


def detach(session: Session) -> None:
    """Press ctrl-p, ctrl-q as a person does, one by one: podman doesn't know the keys when they come together."""
    for _ in range(10):
        for key in (b"\x10", b"\x11"):
            session.type(key)
            wait_until(lambda: not session.unread(), "the key is read")
        if session.ends_within(2.0):
            return


def test_a_person_can_detach_and_attach_again(main_engine: Engine, session: Open) -> None:
    name = main_engine.name()
    first = session(*main_engine.words("-it", command=("sh",), name=name))
    first.expect(PROMPT, 60)
    first.type("kept=$((6 * 7)); echo first\r")
    first.expect("\nfirst\r\n")
    detach(first)
    assert first.ended() == 0
    assert main_engine.is_running(name)
    second = session("attach", name, size=(25, 91))
    second.type("\r")
    second.expect(PROMPT)
    # Soon after the start the size is told again, by a column more for an instant (terminal/console.py, Nudge).
    second.type("echo kept $kept; until stty size | grep '25 91'; do sleep 0.1; done\r")
    second.expect("kept 42\r\n")
    second.expect("25 91\r\n")
    second.type("exit 6\r")
    second.ended()  # its own status is the container's with docker only
    assert main_engine.exit_code(name) == 6
