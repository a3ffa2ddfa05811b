"""A host without a cluster, for `scrun lua check` and for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class FakeHost:
    """A host on which every command succeeds without output, unless ``answers`` has another result for its script."""

    def __init__(
        self,
        extras: Mapping[str, Callable[..., object]] | None = None,
        answers: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self.extras = extras or {}
        self.answers = answers or {}
        self.logged: list[tuple[str, str]] = []
        self.commands: list[tuple[str, str]] = []

    def log(self, level: str, message: str) -> None:
        """Remember a message."""
        self.logged.append((level, message))

    def allocator_command(self, script: str) -> tuple[int, str]:
        """Remember a command of the submitting host."""
        return self._run("allocator", script)

    def remote_command(self, script: str) -> tuple[int, str]:
        """Remember a command of the nodes."""
        return self._run("remote", script)

    def _run(self, where: str, script: str) -> tuple[int, str]:
        self.commands.append((where, script))
        return self.answers.get(script, (0, ""))
