"""What the anchor's own modules see of it, so that none imports the anchor that imports them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Protocol, overload

    from scrun.errors import ScrunError
    from scrun.lifecycle.anchor.create_limit import CreateLimit
    from scrun.lifecycle.anchor.creator import Creator
    from scrun.lifecycle.anchor.node_side import NodeSide
    from scrun.lifecycle.anchor.notices import Notices
    from scrun.lifecycle.anchor.preparation import Preparation
    from scrun.lifecycle.anchor.standin_link import StandinLink
    from scrun.lifecycle.anchor.stdio import Stdio
    from scrun.lifecycle.anchor.worker import Worker
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Reply
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.node.step import Step
    from scrun.lifecycle.process.loop import Loop

    # Events of :mod:`scrun.lifecycle.anchor.life`, by what they are about: nothing, or an error.
    Begun = Literal["recorded", "announced", "files_renewed", "program_started", "released"]
    Due = Literal["create_overdue", "start_overdue", "delete_overdue", "directory_gone", "let_go"]
    Plain = Begun | Due
    Failed = Literal["hopeless", "explained", "not_started", "not_released", "slurm_silent"]

    class Requested(Protocol):
        """What callers of the socket may ask of an anchor."""

        def start(self, answer: Reply) -> None:
            """Run the container's process."""

        def kill(self, number: int, answer: Reply) -> None:
            """Send a signal to the container's process."""

        def pause(self, answer: Reply) -> None:
            """Have all processes of the container stop."""

        def resume(self, answer: Reply) -> None:
            """Have them go on."""

        def delete(self, answer: Reply) -> None:
            """End the container."""

        def waits_for(self) -> str:
            """What keeps it from its end."""

    class Requests(Protocol):
        """The callers of an anchor's socket."""

        def answer_rest(self) -> None:
            """Answer everybody who still waits."""

    class Anchor(Protocol):
        """:class:`scrun.lifecycle.anchor.anchor.Anchor`, for what acts on it."""

        loop: Loop
        container: Container
        record: Record
        plan: Plan
        forced: int | None  # the exit status that something else than the program decided
        stdio: Stdio
        step: Step | None  # None until there is one
        stager: Worker | None
        creator: Creator
        standin: StandinLink
        preparation: Preparation
        notices: Notices
        create_limit: CreateLimit
        nodes: NodeSide | None  # None where the container has no agent

        @property
        def requests(self) -> Requests:
            """The callers of the socket."""

        @property
        def state(self) -> str:
            """Where it is in the table of life."""

        @property
        def status(self) -> str:
            """The OCI status."""

        @property
        def log(self) -> Callable[[str, str], None]:
            """Write a line to the container's log: its level, its text."""

        @property
        def say(self) -> Callable[[str], None]:
            """Say something on the container's standard error."""

        # Follow the table of life: what has happened, and what that is about.
        @overload
        def happen(self, event: Plain) -> None: ...

        @overload
        def happen(self, event: Failed, error: ScrunError) -> None: ...

        @overload
        def happen(self, event: Literal["files_back"], error: ScrunError | None) -> None: ...

        @overload
        def happen(self, event: Literal["exited"], exit_status: int) -> None: ...

        @overload
        def happen(self, event: Literal["connection_lost", "network_lost"], why: str) -> None: ...

        @overload
        def happen(self, event: Literal["program_failed"], error: ScrunError, exit_status: int) -> None: ...

        @overload
        def happen(self, event: Literal["paused", "resumed"], answer: Reply) -> None: ...

        @overload
        def happen(
            self, event: Literal["half_paused", "not_paused", "not_resumed"], answer: Reply, error: ScrunError
        ) -> None: ...

        def set_status(self, new: str) -> None:
            """Enter a status, and write it down."""

        def save(self) -> bool:
            """Write the record down, and say whether that was done."""
