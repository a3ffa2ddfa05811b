"""One line a cell as it is done, and the table of all at the end."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

LONGEST = 30.0  # seconds that a command may take


@dataclass
class Cell:
    """What was seen in one cell."""

    name: str
    left: dict[str, list[str]] = field(default_factory=dict)
    status: int | None = None
    right: str = ""
    files: str = ""
    longest: float = 0.0
    command: str = ""  # that took so long
    limit: float = 0.0  # how long it may take, where that is not LONGEST
    wrong: list[str] = field(default_factory=list)  # what isn't as it should be, in words
    why: str = ""  # why the cell says nothing, or may be as it is
    took: float = 0.0

    @property
    def good(self) -> bool:
        """Whether all is as it should be."""
        return not self.wrong

    def line(self) -> str:
        """The cell on one line."""
        if self.why and not self.left:
            return f"-     {self.name:<44} {self.why}"
        counts = " ".join(f"{len(self.left.get(kind, []))}" for kind in ("jobs", "processes", "records"))
        seen = "-" if self.status is None else str(self.status)
        text = f"{'ok   ' if self.good else 'FAILS'} {self.name:<44} left {counts}  status {seen} ({self.right})"
        text += f"  files {self.files or '-'}  wait {self.longest:.1f} s ({self.command})  took {self.took:.0f} s"
        return "\n      ".join([text, *self.wrong])


class Report:
    """The cells so far, in a file too, so that a run that was interrupted can go on."""

    def __init__(self, file: Path, resume: bool) -> None:
        self._file = file
        self.cells: list[Cell] = []
        if resume and file.exists():
            self.cells = [Cell(**json.loads(line)) for line in file.read_text().splitlines()]
        else:
            file.write_text("")

    def has(self, name: str) -> bool:
        """Whether that cell is done already."""
        return any(cell.name == name for cell in self.cells)

    def add(self, cell: Cell) -> None:
        """Print and keep it."""
        self.cells.append(cell)
        print(cell.line(), flush=True)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(cell)) + "\n")

    def table(self) -> str:
        """All cells, as docs/reliability.md has them."""
        made = time.strftime("%Y-%m-%d")
        done = [cell for cell in self.cells if cell.left]
        lines = [
            f"Made {made}: {len(done)} cells, {sum(not cell.good for cell in done)} not as they should be.",
            "",
            "| fault | when | who | left: jobs, processes, records | status (right) | files | longest wait |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for cell in self.cells:
            fault, when, who = cell.name.split("/")
            if not cell.left:
                lines.append(f"| {fault} | {when} | {who} | {cell.why} | | | |")
                continue
            left = ", ".join(str(len(cell.left[kind])) for kind in ("jobs", "processes", "records"))
            seen = "none" if cell.status is None else cell.status
            mark = f" ({cell.why})" if cell.why else ""
            mark += "" if cell.good else " **" + "; ".join(cell.wrong) + "**"
            lines.append(
                f"| {fault} | {when} | {who} | {left} | {seen} ({cell.right}) | {cell.files or '-'} "
                f"| {cell.longest:.1f} s{mark} |"
            )
        return "\n".join(lines)
