"""The pictures in docs/pictures are what `make docs` draws of their texts."""

from __future__ import annotations

import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures"
DRAW: dict[str, Any] = runpy.run_path(str(PICTURES / "draw.py"))
SOURCES = sorted(PICTURES.glob("*.txt"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_picture_is_what_its_text_says(source: Path) -> None:
    drawn = DRAW["Picture"](source.read_text()).svg()
    assert source.with_suffix(".svg").read_text() == drawn, "make docs"
    assert DRAW["Picture"](source.read_text()).svg() == drawn


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_is_a_titled_svg(picture: Path) -> None:
    assert picture.with_suffix(".txt") in SOURCES
    root = ElementTree.fromstring(picture.read_text())
    assert root.findtext("{*}title")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"pictures/{picture.name})" in page.read_text() for page in pages)


def boxes() -> list[Any]:
    return [box for source in SOURCES for box in DRAW["Picture"](source.read_text()).boxes.values()]


def test_boxes_never_overlap_and_hold_their_texts() -> None:
    for source in SOURCES:
        places = [(box.column, box.row) for box in DRAW["Picture"](source.read_text()).boxes.values()]
        assert len({*places}) == len(places)
    # Some 7 pixels a letter of DejaVu Sans at 11.5 px, 9 of a title's.
    assert all(len(box.lines[0]) * 9 <= DRAW["WIDTH"] for box in boxes())
    assert all(len(line) * 7 <= DRAW["WIDTH"] for box in boxes() for line in box.lines[1:])


@pytest.mark.parametrize(
    "text",
    ["nonsense", "box a 1 A", "area A\nbox a x A", "area A\nbox a 1 A\nbox a 2 A", "area A\nbox a 1 A\narrow a -> b"],
)
def test_a_line_that_is_not_understood_is_named(text: str) -> None:
    with pytest.raises(DRAW["Mistake"], match=rf"line {len(text.splitlines())}: "):
        DRAW["Picture"](text)


def test_what_is_special_to_xml_is_escaped() -> None:
    drawn = DRAW["Picture"]("title a < b\narea & co\nbox a 1 <x>").svg()
    ElementTree.fromstring(drawn)
    assert "a &lt; b" in drawn
