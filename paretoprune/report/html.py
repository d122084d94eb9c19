"""The HTML report: one file with everything in it, which opens without a network.

Scripts and styles are inside. A content security policy forbids every connection and every script
but the two that are listed by their hash, so a name that slipped through unescaped could not act.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from paretoprune.comparison.gradients import Gradients
from paretoprune.comparison.results import Summary
from paretoprune.compression.kept import Examples
from paretoprune.report import words
from paretoprune.report.blocks import with_contents
from paretoprune.report.files import resource, write_whole
from paretoprune.report.gradient_plots import gradient_plots
from paretoprune.report.kept_html import has_slider
from paretoprune.report.plots import plots
from paretoprune.report.sections import sections


def write_html(
    summary: Summary,
    file: Path,
    examples: Examples | None = None,
    gradients: Gradients | None = None,
) -> None:
    """Write the report; raises `BrokenFileError` where that fails."""
    write_whole(file, render_html(summary, examples, gradients).encode("utf-8"))


def render_html(
    summary: Summary, examples: Examples | None = None, gradients: Gradients | None = None
) -> str:
    """The report as one self-contained HTML page.

    With example pictures and the insides of gradient searches, if there are any.
    """
    drawn = plots(summary) | gradient_plots(gradients)
    library = _newlines(get_plotlyjs()) if drawn else ""
    body = sections(summary, set(drawn), examples, gradients)
    script = _newlines(resource("page.js")) if drawn or has_slider(body) else ""
    title = _title(summary)
    contents, shown = with_contents(body)
    return Template(resource("page.html")).substitute(
        policy=policy([library, script]),
        title=html.escape(title),
        style=resource("style.css"),
        finding=html.escape(words.finding(summary)),
        about=html.escape(_about(summary)),
        interrupted=_interrupted(summary),
        contents=contents,
        sections=shown,
        plots=embedded_json(drawn),
        library=library,
        script=script,
    )


def embedded_json(value: object) -> str:
    r"""JSON for a script element: `<`, `>` and `&` as `\u003c` and so on, so that nothing ends it.

    >>> embedded_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def policy(scripts: list[str]) -> str:
    """A content security policy that allows these scripts and nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        for text in scripts
        if text
    ]
    allowed = " ".join(f"'sha256-{found}'" for found in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _newlines(text: str) -> str:
    """Text as a browser hashes it: with line feeds only."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _title(summary: Summary) -> str:
    count = len(summary.standings)
    noun = "strategy" if count == 1 else "strategies"
    return f"{count} search {noun} compared on {words.subject(summary)}"


def _about(summary: Summary) -> str:
    told = [f"Written by paretoprune {words.plain(summary.versions.get('paretoprune', ''), 20)}"]
    told.append(words.plain(summary.created, 40))
    budget = summary.settings.get("budget")
    if isinstance(budget, int | float):
        told.append(f"{words.amount(float(budget))} {words.cost_unit(summary)} per study")
    if summary.standings:
        told.append(words.seeds(summary))
    return " · ".join(told)


def _interrupted(summary: Summary) -> str:
    if not summary.interrupted:
        return ""
    return (
        '<p class="warning" role="note">The comparison was interrupted: it covers what was '
        "finished, and the last study perhaps in part.</p>"
    )
