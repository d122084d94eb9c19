"""Files of a claim: a table (CSV and Markdown), a figure (SVG), one sentence."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from paretoprune.files import StoredModel, read_stored, write_stored, write_whole

FINDING_NAME = "finding.json"
Verdict = Literal["holds", "holds in part", "does not hold", "is shown"]
Cell = str | int | float | None


class Finding(StoredModel):
    """The answer to one claim.

    `sentence` says the verdict with its interval; `rows` are the table, a cell per column; numbers
    are kept whole and rounded where they are printed.
    """

    number: int
    name: str
    title: str
    claim: str
    verdict: Verdict
    sentence: str
    columns: list[str]
    rows: list[list[Cell]]

    def markdown(self) -> str:
        """The table, GitHub-flavoured."""
        lines = [self.columns, ["---:" if self._is_numeric(i) else "---" for i in self._places]]
        lines += [[_shown(cell) for cell in row] for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def csv(self) -> str:
        """The table with all digits."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream)
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return stream.getvalue()

    @property
    def _places(self) -> range:
        return range(len(self.columns))

    def _is_numeric(self, column: int) -> bool:
        return all(not isinstance(row[column], str) for row in self.rows)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    text = f"{cell:.3f}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|")


def write_finding(folder: Path, finding: Finding, figure: Figure) -> None:
    """Write table.csv, table.md, figure.svg and finding.json; the last one says that all are there.

    Raises `BrokenFileError` where a file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    files = {
        "table.csv": finding.csv().encode("utf-8"),
        "table.md": finding.markdown().encode("utf-8"),
        "figure.svg": drawn.getvalue(),
    }
    for name, content in files.items():
        write_whole(folder / name, content)
    write_stored(folder / FINDING_NAME, finding)


def read_finding(folder: Path) -> Finding | None:
    """The finding in a folder; None without one. Raises `BrokenFileError` naming what is wrong."""
    file = folder / FINDING_NAME
    return read_stored(file, "finding", Finding) if file.exists() else None
