"""The ranking as a GitHub-flavoured table, for a README or a paper's repository."""

from __future__ import annotations

import html
import re

from paretoprune.comparison.results import Summary
from paretoprune.report import ranking, words


def ranking_markdown(summary: Summary) -> str:
    """Table, its terms, and the finding; nothing in a name acts as markup."""
    lines = [escaped(words.finding(summary))]
    if summary.interrupted:
        lines.append("The comparison was interrupted and covers what was finished.")
    if summary.standings:
        lines.append(_table(summary))
        seconds = words.amount(sum(row.seconds for row in summary.studies))
        lines.append(f"{ranking.explanation(summary)} All studies together: {seconds} s.")
    return "\n\n".join(lines) + "\n"


def _table(summary: Summary) -> str:
    columns = ranking.columns(summary)
    cells = [column.cells(summary.standings) for column in columns]
    rows = [
        [column.title for column in columns],
        ["---:" if column.numeric else "---" for column in columns],
        *([escaped(cell) for cell in row] for row in zip(*cells, strict=True)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(text: str) -> str:
    """Text that GitHub shows literally, in a table cell too."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(text, quote=False))
