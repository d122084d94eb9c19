"""A table, defined once and drawn on a terminal, in Markdown and in HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from paretoprune.report.palette import Look

GAP = 2
"""Blanks between two columns on a terminal."""
PLAIN_SIGNS = str.maketrans({"≈": "~", "±": "+-", "×": "x", "…": "~", "–": "-"})


@dataclass(frozen=True)
class Column:
    """A column of plain text: one cell per row.

    `number` columns are aligned right and never broken, `text` columns are aligned left, and `wide`
    ones take several lines on a page. `unit` follows the title. A terminal shows `head` in place of
    a long title, in `width` characters where that is given; a page shows `meaning` over the title,
    the marker of each strategy in `looks`, and links each cell to its address in `links`.
    """

    title: str
    cells: Sequence[str]
    kind: Literal["number", "text", "wide"] = "number"
    unit: str = ""
    head: str | None = None
    width: int | None = None
    meaning: str = ""
    looks: Sequence[Look] = ()
    links: Sequence[str | None] = ()

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def terminal_heading(self) -> str:
        """The heading on a terminal, which may be shorter."""
        return self.heading if self.head is None else self.head

    @property
    def terminal_width(self) -> int:
        """Characters that the column needs on a terminal, with the gap after it."""
        return GAP + max(map(cell_len, [self.terminal_heading, *self.cells]))


@dataclass(frozen=True)
class Table:
    """Columns under a title; rows whose numbers are in `bold` are emphasised on a terminal."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    caption: str = ""
    bold: Collection[int] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of each row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))

    def rich(self, *, titled: bool = True) -> RichTable:
        """The table for a terminal; `titled` with its title and caption."""
        drawn = RichTable(
            title=Text(self.title) if titled else None,
            title_justify="left",
            title_style="bold",
            caption=Text(self.caption) if titled else None,
            caption_justify="left",
            caption_style="dim",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, GAP - 1, 0, 0),
        )
        for column in self.columns:
            heading = Text(column.terminal_heading)
            if column.kind == "number":
                drawn.add_column(heading, justify="right", no_wrap=True)
            else:
                drawn.add_column(heading, overflow="fold", width=column.width)
        for number, row in enumerate(self.rows):
            drawn.add_row(*map(Text, row), style="bold" if number in self.bold else None)
        return drawn

    def markdown(self) -> str:
        """The table in GitHub-flavoured Markdown, without title and caption."""
        lines = [
            [column.heading for column in self.columns],
            ["---:" if column.kind == "number" else "---" for column in self.columns],
            *([escaped(cell) for cell in row] for row in self.rows),
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that GitHub shows literally, in a table cell too."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(text, quote=False))


def show(console: Console, *parts: RenderableType) -> None:
    """Print each part; signs that the console's encoding lacks are replaced, never an error."""
    for part in parts:
        drawn = Text(part) if isinstance(part, str) else part
        if not console.options.ascii_only:
            console.print(drawn)
            continue
        with console.capture() as captured:
            console.print(drawn)
        text = captured.get().translate(PLAIN_SIGNS)
        console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))


def show_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns without a heading."""
    drawn = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column("", no_wrap=True)
    drawn.add_column("")
    for name, value in facts:
        drawn.add_row(Text(name), Text(value))
    show(console, drawn)
