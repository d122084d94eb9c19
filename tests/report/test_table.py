"""One table in three media: the same cells, each medium's own escaping."""

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from paretoprune.report.page import Listing, Section, Terms, render, render_page
from paretoprune.report.palette import look
from paretoprune.report.table import Column, Table, show

HOSTILE = '"><img src=x onerror=alert(1)>|`[red]'
TABLE = Table(
    HOSTILE,
    [
        Column(HOSTILE, ["a", HOSTILE], "text", meaning=HOSTILE, looks=[look(0), look(1)]),
        Column("share", ["1.0", "12.5"], unit="%", head="%"),
        Column("where", ["x", "y"], "wide", links=[None, f"folder/{HOSTILE}"]),
    ],
    caption=HOSTILE,
    bold=[1],
)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


def test_a_page_shows_every_cell_and_lets_no_name_act():
    page = Page(render("section.html", section=Section(HOSTILE, [HOSTILE, TABLE])))
    assert "img" not in page.tags
    assert [a["title"] for a in page.attributes if "title" in a] == [HOSTILE]
    assert [a["href"] for a in page.attributes if "href" in a] == [f"folder/{HOSTILE}"]
    assert page.texts == [
        HOSTILE, HOSTILE, HOSTILE, "share, %", "where",
        look(0).glyph, "a", "1.0", "x", look(1).glyph, HOSTILE, "12.5", "y",
    ]  # fmt: skip
    kinds = [a["class"] for a in page.attributes if a.get("class") in ("number", "text", "wide")]
    assert kinds == ["text", "number", "wide"] * 3


def test_markdown_aligns_numbers_and_takes_names_literally():
    lines = TABLE.markdown().splitlines()
    assert lines[1] == "| --- | ---: | --- |"
    assert len(lines) == 4
    assert all(len(re.split(r"(?<!\\)\|", line)) == 5 for line in lines[1:])
    assert "<img" not in "\n".join(lines[2:])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_shows_the_short_heads(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=100, highlight=False)
    show(console, TABLE.rich(), "≈ [red]")
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert "share" not in text and "%" in text
    assert text.count(HOSTILE) == 4  # title, head, cell, caption
    assert text.endswith("≈ [red]\n" if encoding == "utf-8" else "~ [red]\n")
    assert HOSTILE not in render_page("a", "b", "c", [])


def test_lists_and_terms_are_escaped():
    blocks = [Listing([HOSTILE]), Terms({HOSTILE: HOSTILE})]
    page = Page(render("section.html", section=Section("a", blocks)))
    assert page.texts == ["a", HOSTILE, HOSTILE, HOSTILE]
    assert page.tags == ["section", "h2", "ul", "li", "dl", "dt", "dd"]
