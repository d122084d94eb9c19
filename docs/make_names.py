"""Writes the tables of docs/reference/names.md from the registry: `python docs/make_names.py`.

A table stands between `<!-- names: KINDS -->` and `<!-- end -->`; the text around it is written by
hand. What a name does is its line in `paretoprune/registry.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paretoprune.core.options import defaults_of
from paretoprune.core.registries import BUILT_IN, Entry, Registry
from paretoprune.registry import ALL, find_registry

FILE = Path(__file__).resolve().parent / "reference" / "names.md"
TABLE = re.compile(r"(<!-- names: ([\w-]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)
LAYERS, LEVELS = 8, 12
"""The decoder whose spaces say which knobs a kernel has."""

Column = tuple[str, Callable[[Entry, Any], str]]


def page(text: str) -> str:
    """The page with its tables written anew."""
    return TABLE.sub(
        lambda m: m.group(1) + table(find_registry(m.group(2)), text) + m.group(3), text
    )


def table(registry: Registry, text: str) -> str:
    """One line per built-in name of a kind; `text` is the page, whose sections it links to."""
    columns: list[Column] = [
        ("name", lambda entry, kind: f"`{entry.name}`"),
        (HEADS.get(registry.plural, "what it does"), lambda entry, kind: entry.summary),
        *COLUMNS.get(registry.plural, []),
    ]
    if registry.plural == "strategies":
        sections = set(re.findall(r"^### ([\w-]+)$", text, re.MULTILINE))
        columns.append(("options", lambda entry, kind: _options(entry, kind, sections)))
    lines = [_line(name for name, _ in columns), "|" + "---|" * len(columns)]
    for entry in registry:
        if entry.origin == BUILT_IN:
            kind = entry.load()
            lines.append(_line(cell(entry, kind) for _, cell in columns))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _options(entry: Entry, kind: Any, sections: set[str]) -> str:
    """Names of a strategy's own options, or a link to its section where they are many."""
    names = [name for name in defaults_of(kind) or () if name != "space"]
    if len(names) > 5 and entry.name in sections:
        return f"[below](#{entry.name})"
    return ", ".join(f"`{name}`" for name in names)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _knobs(entry: Entry, kind: Any) -> str:
    names = [f"`{name}`" for name in kind(LAYERS, LEVELS, 1).space.names]
    return ", ".join(names) if len(names) < 5 else f"{names[0]} to {names[-1]}"


def _settings(entry: Entry, kind: Any) -> str:
    return ", ".join(f"`{knob.name}`" for knob in kind.knobs)


HEADS = {
    "kernels": "schedule",
    "pruners": "which tokens stay",
    "adapters": "models",
    "tasks": "data",
}
COLUMNS: dict[str, list[Column]] = {
    "kernels": [("knobs of a decoder of 8 layers", _knobs)],
    "pruners": [
        ("first layer", lambda entry, kind: str(kind.first_layer)),
        ("needs", lambda entry, kind: ", ".join(sorted(kind.needs))),
        ("merges", lambda entry, kind: _yes(kind.merges)),
        ("soft", lambda entry, kind: _yes(kind.relaxable)),
        ("settings", _settings),
    ],
    "adapters": [
        ("`model_type`", lambda entry, kind: ", ".join(f"`{x}`" for x in kind.model_types)),
    ],
}


def missing(text: str) -> list[str]:
    """Kinds without a table on the page."""
    shown = {find_registry(kind) for _, kind, _ in TABLE.findall(text)}
    return [registry.plural for registry in ALL if registry not in shown]


if __name__ == "__main__":
    FILE.write_text(page(FILE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {FILE}")
