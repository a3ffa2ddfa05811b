"""The anchor's end of its connection to the stand-in (:mod:`standin`)."""

from __future__ import annotations

from scrun import wait
from scrun.errors import ScrunError
from scrun.lifecycle.container import messages
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.messages import ToStandin
    from scrun.lifecycle.container.network import Hook
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept


class StandinLink:
    """Whoever stands in for the container.

    ``ready`` is called when it is in the namespaces that it shall be in, with its new pid, or 0 where that is the old
    one; ``failed`` when it can't be; ``kill`` with each signal that was sent to it; ``gone`` when it was killed, as
    docker does when a container doesn't end in time.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        *,
        ready: Callable[[int], None],
        failed: Callable[[ScrunError], None],
        kill: Callable[[int], None],
        gone: Callable[[], None],
    ) -> None:
        self._loop, self._descriptor, self._reader = loop, descriptor, wire.Reader(descriptor)
        self._ready, self._failed, self._kill, self._gone = ready, failed, kill, gone
        self._is_there = True
        loop.watch(descriptor, self._read)

    def move(self, *, pid: bool, network: bool, hook: Hook | None) -> None:
        """Have it be in new namespaces of these kinds, if any, and the hook run that tells the engine so."""
        if pid or network:
            self._send({"do": "new namespaces", "pid": pid, "network": network, "hook": hook})
        else:
            self._ready(0)

    def show_podman(self, *, rootfs: bool) -> None:
        """Have it be ready for podman's looks, with the container's files where they are here."""
        if self._is_there:
            self._send({"do": "show podman", "rootfs": rootfs})

    def let_exit(self, exit_status: int) -> None:
        """Have it end with that status."""
        if self._is_there:
            self._send({"do": "exit", "status": exit_status})
            self._close()

    def keep(self, kept: Kept) -> int:
        """Its descriptor, for scrun-wait.

        Raises:
            Busy: it has gone, or a message has come in part.
        """
        wait.check(self._is_there and self._reader.is_at_rest, "the stand-in says something")
        return kept(self._descriptor)

    def _send(self, message: ToStandin) -> None:
        wire.send(self._descriptor, message)

    def _close(self) -> None:
        self._is_there = False
        self._loop.unwatch(self._descriptor)

    def _read(self) -> None:
        said = self._reader.read(messages.from_standin)
        if said is None:
            self._close()
            self._gone()
            return
        for message in said:
            if "signal" in message:
                self._kill(message["signal"])
            elif message["answer"]:
                self._failed(ScrunError(message["answer"]))
            else:
                self._ready(message["pid"])
