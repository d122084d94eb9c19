"""What sections are made of: headings, tables, figures with captions. Cells are HTML already."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """A column's title, its kind (`number`, `text`, or `wide` text that wraps) and its meaning."""

    title: str
    kind: str = "number"
    meaning: str = ""


def table(name: str, heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls in a box of its own; `rows` are HTML already."""
    top = "".join(
        f'<th scope="col" class="{head.kind}"'
        + (f' title="{html.escape(head.meaning)}"' if head.meaning else "")
        + f">{html.escape(head.title)}</th>"
        for head in heads
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="{head.kind}">{cell}</td>' for cell, head in zip(row, heads, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(name)}">'
        f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


def figure(title: str, name: str, alt: str, told: str) -> str:
    """A section with the plot of the id `name`, described by `alt` and explained by a caption."""
    body = (
        f'<figure><div class="plot" id="{name}" role="img" aria-label="{html.escape(alt)}"></div>'
        "<noscript><p>This plot needs JavaScript; front.png beside this file does not.</p>"
        f"</noscript><figcaption>{html.escape(told)}</figcaption></figure>"
    )
    return section(title, body)


def section(title: str, body: str, css: str = "") -> str:
    """A section under a heading; `body` is HTML already, `css` the name of a class."""
    kind = f' class="{css}"' if css else ""
    return f"<section{kind}>\n<h2>{html.escape(title)}</h2>\n{body}\n</section>"


def with_contents(sections: Sequence[str]) -> tuple[str, str]:
    """A list of links to the sections' headings, and the sections with the ids that it names."""
    links, numbered = [], []
    for number, text in enumerate(sections):
        title = text.split("<h2>", 1)[1].split("</h2>", 1)[0]
        links.append(f'<li><a href="#s{number}">{title}</a></li>')
        numbered.append(text.replace("<h2>", f'<h2 id="s{number}">', 1))
    contents = f'<nav aria-label="Contents"><ul>\n{chr(10).join(links)}\n</ul></nav>'
    return contents, "\n".join(numbered)
