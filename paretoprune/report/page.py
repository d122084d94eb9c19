"""A page of HTML: sections of blocks, drawn by the files in `templates/`.

Templates escape every text. Only this package's own style and scripts, and what its templates drew,
are `Markup`. A content security policy forbids every connection and every script but those two by
their hash, so that even a name that was not escaped could not act.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MAX_BYTES = 600_000
"""Limit of one embedded file; a larger one is only named."""


class Block(Protocol):
    """Part of a section; `kind` names the macro of `section.html` that draws it."""

    kind: ClassVar[str]


Blocks = list[str | Block]
"""Blocks of a section; a text is a paragraph."""


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; `css` is the name of a class."""

    title: str
    blocks: Blocks
    css: str = ""


@dataclass(frozen=True)
class Plot:
    """The plot of the id `name`, described by `alt` and explained by a caption."""

    kind: ClassVar[str] = "plot"
    name: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Listing:
    """Lines with bullets."""

    kind: ClassVar[str] = "listing"
    lines: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """Meanings by term."""

    kind: ClassVar[str] = "terms"
    meanings: Mapping[str, str]


@dataclass(frozen=True)
class Download:
    """A file inside the page: no connection, no script."""

    name: str
    media_type: str
    content: str
    text: str

    @property
    def fits(self) -> bool:
        """Whether the file is small enough to be embedded."""
        return len(self.text.encode("utf-8")) <= MAX_BYTES

    @property
    def kilobytes(self) -> str:
        """Size of the file."""
        return f"{len(self.text.encode('utf-8')) / 1000:.0f}"

    @property
    def address(self) -> str:
        """The file as a data URL."""
        return data_url(self.media_type, self.text.encode("utf-8"))


@dataclass(frozen=True)
class Downloads:
    """Links that save files."""

    kind: ClassVar[str] = "downloads"
    files: Sequence[Download]


def data_url(media_type: str, content: bytes) -> str:
    """Content as an address that needs no connection."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("paretoprune.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render(template: str, **values: Any) -> Markup:
    """A template with its values, every text in them escaped."""
    return Markup(_environment().get_template(template).render(values))


def render_page(
    title: str, finding: str, about: str, sections: Sequence[Section], *,
    plots: Mapping[str, Any] | None = None, library: str = "", script: str = "",
    warning: str = "", contents: bool = False,
) -> str:  # fmt: skip
    """A self-contained page; `contents` lists its sections on top."""
    library, script = _line_feeds(library), _line_feeds(script)
    page = render(
        "page.html", title=title, finding=finding, about=about, sections=sections, warning=warning,
        contents=contents, policy=Markup(_policy([library, script])),
        style=Markup(resource("style.css")), plots=Markup(embedded_json(plots or {})),
        library=Markup(library), script=Markup(script),
    )  # fmt: skip
    return str(page)


def resource(name: str) -> str:
    """Text of a file in this directory, such as `style.css`."""
    return files("paretoprune.report").joinpath(name).read_text(encoding="utf-8")


def embedded_json(value: object) -> str:
    r"""JSON for a script element: `<`, `>` and `&` as `\u003c` and so on, so that nothing ends it.

    >>> embedded_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy that allows these scripts and nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        for text in scripts
        if text
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _line_feeds(text: str) -> str:
    """Text as a browser hashes it: with line feeds only."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
