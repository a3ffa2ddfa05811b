"""Draw a picture of boxes and arrows, an SVG, from a few lines of text.

``python docs/pictures/draw.py NAME.txt`` writes NAME.svg beside it; the same text gives the same bytes. A line is one
of these::

    title TEXT                      for those who can't see the picture
    area TITLE                      a column; the boxes below it are in it
    box NAME ROW TITLE [| TEXT…]    a box in a row of the column, up to two lines of text below its title
    arrow NAME ->|<-> NAME [TEXT]   from one to the other, or both ways
    # a remark
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 216, 66  # of a box; all in pixels
ACROSS, DOWN, EDGE, HEAD = 96, 30, 14, 34  # between columns, between rows, around, and for a column's title
STYLE = """text { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; fill: #1c2733; }
.area { fill: #f2f5f8; stroke: #c3ccd6; }
.box { fill: #ffffff; stroke: #4a6078; stroke-width: 1.4; }
.head { font-size: 13px; font-weight: bold; fill: #4a6078; }
.title { font-size: 14px; font-weight: bold; }
.line { font-size: 11.5px; }
.arrow { stroke: #2563a8; stroke-width: 1.6; fill: none; marker-end: url(#end); }
.both { marker-start: url(#end); }
.label { font-size: 11.5px; fill: #174a80; stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }"""
MARKER = (
    '<marker id="end" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="#2563a8"/></marker>'
)


class Mistake(Exception):
    """A line that can't be understood."""


class Box(NamedTuple):
    """A box: its column and row, from 0, and its lines."""

    column: int
    row: int
    lines: list[str]

    @property
    def x(self) -> float:
        """Its left edge."""
        return 2 * EDGE + self.column * (WIDTH + 2 * EDGE + ACROSS)

    @property
    def y(self) -> float:
        """Its upper edge."""
        return EDGE + HEAD + self.row * (HEIGHT + DOWN)


class Arrow(NamedTuple):
    """An arrow between the boxes of these names."""

    start: str
    end: str
    both: bool
    text: str


class Picture:
    """What a text describes."""

    def __init__(self, text: str) -> None:
        self.title, self.areas = "", list[str]()
        self.boxes: dict[str, Box] = {}
        self.arrows: list[Arrow] = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                self._read(line.strip())
            except (ValueError, KeyError) as error:
                raise Mistake(f"line {number}: {line.strip()!r} is not understood: see draw.py") from error

    def _read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if not line or word == "#":
            return
        if word == "title":
            self.title = rest
        elif word == "area":
            self.areas.append(rest)
        elif word == "box":
            name, row, words = rest.split(" ", 2)
            lines = [part.strip() for part in words.split("|")]
            if name in self.boxes or not self.areas or int(row) < 1 or len(lines) > 3:
                raise ValueError(name)
            self.boxes[name] = Box(len(self.areas) - 1, int(row) - 1, lines)
        elif word == "arrow":
            start, way, end, *text = rest.split(" ", 3)
            if way not in ("->", "<->"):
                raise ValueError(way)
            self.boxes[start], self.boxes[end]
            self.arrows.append(Arrow(start, end, way == "<->", text[0] if text else ""))
        else:
            raise ValueError(word)

    def svg(self) -> str:
        """The picture."""
        rows = 1 + max((box.row for box in self.boxes.values()), default=0)
        width = len(self.areas) * (WIDTH + 2 * EDGE + ACROSS) - ACROSS + 2 * EDGE
        height = 2 * EDGE + HEAD + rows * (HEIGHT + DOWN) - DOWN + EDGE
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>\n{STYLE}\n</style>",
            f"<defs>{MARKER}</defs>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        ]
        for number, title in enumerate(self.areas):
            parts += self._area(number, title, height)
        for box in self.boxes.values():
            parts += _box(box)
        parts += [_arrow(self.boxes[arrow.start], self.boxes[arrow.end], both=arrow.both) for arrow in self.arrows]
        parts += [
            _label(self.boxes[arrow.start], self.boxes[arrow.end], arrow.text) for arrow in self.arrows if arrow.text
        ]
        return "\n".join([*parts, "</svg>", ""])

    def _area(self, number: int, title: str, height: float) -> list[str]:
        """A column's background: as high as its boxes."""
        rows = [box.row for box in self.boxes.values() if box.column == number]
        top = Box(number, min(rows, default=0), [])
        bottom = Box(number, max(rows, default=0), [])
        y, end = top.y - HEAD, min(bottom.y + HEIGHT + EDGE, height)
        x = top.x - EDGE
        return [
            f'<rect class="area" x="{x}" y="{y}" width="{WIDTH + 2 * EDGE}" height="{end - y}" rx="8"/>',
            _text("head", x + EDGE, y + 22, title, "start"),
        ]


def _box(box: Box) -> list[str]:
    parts = [f'<rect class="box" x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>']
    first = box.y + HEIGHT / 2 + 5 - 8 * (len(box.lines) - 1)
    for number, line in enumerate(box.lines):
        parts.append(_text("line" if number else "title", box.x + WIDTH / 2, first + 16 * number, line))
    return parts


def _ends(start: Box, end: Box) -> tuple[float, float, float, float]:
    """Where an arrow begins and ends: at facing sides."""
    if start.column == end.column:
        x = start.x + WIDTH / 2
        down = end.row > start.row
        return x, start.y + HEIGHT * down, x, end.y + HEIGHT * (not down)
    right = end.column > start.column
    # Two arrows at one side, of which one goes to another row, keep apart.
    shift = {True: -0.25, False: 0.25}[end.row < start.row] * HEIGHT if end.row != start.row else 0
    y1, y2 = start.y + HEIGHT / 2 + shift, end.y + HEIGHT / 2 - shift
    return start.x + WIDTH * right, y1, end.x + WIDTH * (not right), y2


def _arrow(start: Box, end: Box, *, both: bool) -> str:
    x1, y1, x2, y2 = _ends(start, end)
    return f'<path class="arrow{" both" if both else ""}" d="M{x1} {y1} L{x2} {y2}"/>'


def _label(start: Box, end: Box, text: str) -> str:
    x1, y1, x2, y2 = _ends(start, end)
    if start.column == end.column:
        return _text("label", (x1 + x2) / 2 + 8, (y1 + y2) / 2 + 4, text, "start")
    if y1 != y2:  # below a slanting arrow, on the side that it leaves free
        rises = (y2 < y1) == (x2 > x1)
        return _text(
            "label", (x1 + x2) / 2 + (8 if rises else -8), (y1 + y2) / 2 + 16, text, "start" if rises else "end"
        )
    return _text("label", (x1 + x2) / 2, (y1 + y2) / 2 - 6, text)


def _text(kind: str, x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def main() -> None:
    """Draw each of the texts that the command line names."""
    for name in sys.argv[1:]:
        source = Path(name)
        try:
            source.with_suffix(".svg").write_text(Picture(source.read_text(encoding="utf-8")).svg(), encoding="utf-8")
        except (Mistake, OSError) as error:
            sys.exit(f"{source}: {error}")


if __name__ == "__main__":
    main()
