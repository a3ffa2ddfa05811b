"""What the anchor's own modules see of it, so that none imports the anchor that imports them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from scrun.errors import ScrunError
    from scrun.lifecycle.anchor.stdio import Stdio
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Reply
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.node.step import Step
    from scrun.lifecycle.process.loop import Loop

    class Anchor(Protocol):
        """:class:`scrun.lifecycle.anchor.anchor.Anchor`."""

        loop: Loop
        container: Container
        record: Record
        plan: Plan
        status: str
        is_turning: bool  # to paused, or back
        forced: int | None  # the exit status that a kill decided
        stdio: Stdio

        @property
        def step(self) -> Step | None:
            """The container's step; None until there is one."""

        @property
        def log(self) -> Callable[[str, str], None]:
            """Write a line to the container's log: its level, its text."""

        @property
        def say(self) -> Callable[[str], None]:
            """Say something on the container's standard error."""

        def start(self, answer: Reply) -> None:
            """Run the container's process."""

        def kill(self, number: int, answer: Reply) -> None:
            """Send a signal to the container's process."""

        def end(self, exit_status: int) -> None:
            """Have the container end with that status."""

        def hurry(self, seconds: float) -> None:
            """Have the stand-in end that long after the process."""

        def at_end(self, answer: Reply) -> None:
            """Answer when the container has ended."""

        def give_up(self, error: ScrunError) -> None:
            """The container can't be run."""

        def waits_for(self) -> str:
            """What keeps it from its end."""

        def save(self) -> bool:
            """Write the record down, and say whether that was done."""

        def explain(self, error: ScrunError, told: Callable[[ScrunError], None]) -> None:
            """Call ``told`` with the error, and with what is wrong with the job's nodes."""

        def finish(self, exit_status: int) -> None:
            """The container has ended with that status."""

        def set_status(self, new: str) -> None:
            """Enter a status, and write it down."""
