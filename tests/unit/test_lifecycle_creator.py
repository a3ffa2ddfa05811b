"""The anchor's connection to who creates the container: one who was stopped does not stop the anchor."""

from __future__ import annotations

from typing import Any

from unchecked import anything

from scrun.lifecycle.anchor.creator import Creator
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop


def test_a_creator_that_reads_nothing_misses_only_progress(loop: Loop) -> None:
    ours, theirs = wire.pair()
    creator = Creator(loop, ours, create=lambda _plan: None, abort=lambda _why: None, left=lambda: None)
    for number in range(5000):
        creator.tell({"progress": f"carried {number} MB"})
    creator.tell({"error": "ScrunError", "message": "why"})
    creator.created()
    reader = wire.Reader(theirs)
    heard: list[dict[str, Any]] = []
    while message := reader.next(anything):
        heard.append(message)
    assert heard[-2:] == [{"error": "ScrunError", "message": "why"}, {"created": True}]
    assert 0 < len(heard) < 5000
    assert heard[0] == {"progress": "carried 0 MB"}
