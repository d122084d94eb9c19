"""The data behind the page, to be saved from it: no connection, no script."""

from __future__ import annotations

import base64
import html

from paretoprune.comparison.results import FRONT_NAME, SUMMARY_NAME, Summary, front_csv
from paretoprune.report.blocks import section

MOST_BYTES = 600_000
"""Of one embedded file; a larger one is only named."""


def downloads_section(summary: Summary) -> str:
    """Links that save the fronts as CSV and everything as JSON, both inside the page."""
    files = {
        FRONT_NAME: ("text/csv", "every front's points", front_csv(summary)),
        SUMMARY_NAME: ("application/json", "everything", summary.model_dump_json(indent=1) + "\n"),
    }
    lines = [_link(name, *content) for name, content in files.items()]
    return section("Downloads", f"<ul>\n{chr(10).join(lines)}\n</ul>")


def _link(name: str, kind: str, what: str, text: str) -> str:
    content = text.encode("utf-8")
    shown = html.escape(name)
    if len(content) > MOST_BYTES:
        return f"<li>{shown}: {what}; too large for this page, it lies beside it</li>"
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<li><a download="{shown}" href="data:{kind};base64,{data}">{shown}</a>: {what} '
        f"({len(content) / 1000:.0f} kB)</li>"
    )
