"""What a hook script reaches of this host."""

from __future__ import annotations

import pytest

from scrun.lifecycle.work.host import Host


@pytest.mark.parametrize(
    ("script", "answer"),
    [("echo out; echo error >&2; exit 7", (7, "out\nerror\n")), ("kill -9 $$", (137, "")), ("kill -15 $$", (143, ""))],
)
def test_a_command_says_how_it_ended_as_a_shell_would(script: str, answer: tuple[int, str]) -> None:
    assert Host(lambda _level, _text: None).allocator_command(script) == answer
