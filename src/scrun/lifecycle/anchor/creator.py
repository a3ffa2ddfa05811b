"""The anchor's end of its connection to the process that creates the container."""

from __future__ import annotations

import select

from scrun.errors import ScrunError
from scrun.lifecycle.container import messages
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.messages import ToCreator
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.process.loop import Loop


_MATTERS = {"created", "error"}


class Creator:
    """Whoever creates the container: calls ``create`` with its plan, ``abort`` with the reason when it's interrupted.

    ``is_attached``: it stays until the container has ended (:mod:`run`), and not just until it is created. ``left`` is
    called when it no longer does.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        *,
        create: Callable[[Plan], None],
        abort: Callable[[ScrunError], None],
        left: Callable[[], None],
    ) -> None:
        self.is_there, self.is_attached = descriptor >= 0, False
        self._loop, self._descriptor, self._reader = loop, descriptor, wire.Reader(descriptor)
        self._create, self._abort, self._left = create, abort, left
        if self.is_there:
            loop.watch(descriptor, self._read)

    def tell(self, message: ToCreator) -> None:
        """Send the message, to one who is still there.

        One who was stopped reads nothing: it misses what is only shown, as that would fill the socket and stop us too.
        """
        if self.is_there and (message.keys() & _MATTERS or self._can_take()):
            wire.send(self._descriptor, message)

    def _can_take(self) -> bool:
        """Whether most of the socket's buffer is free (the kernel's idea of POLLOUT): the rest is for what matters."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def created(self) -> None:
        """Tell it that the container is there; nothing keeps it then unless it is attached."""
        self.tell({"created": True})
        if not self.is_attached:
            self.drop()

    def drop(self) -> None:
        """Close the connection: from here on the container does without."""
        if self.is_there:
            self._loop.unwatch(self._descriptor)
            self.is_there = False

    def _read(self) -> None:
        said = self._reader.read(messages.from_creator)
        if said is None:
            self.drop()
            self._abort(ScrunError("create was killed"))
            return
        for message in said:
            if message["do"] == "create":
                self.is_attached = message["plan"]["attached"]
                self._create(message["plan"])
            elif message["do"] == "abort":
                self._abort(ScrunError("create was interrupted"))
            elif message["do"] == "leave alone":
                self.is_attached = False
                self.drop()
                self._left()
