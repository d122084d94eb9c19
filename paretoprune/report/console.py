"""Prints on any terminal: where it knows no Unicode, plain signs stand in."""

from __future__ import annotations

from rich.console import Console, RenderableType

PLAIN = str.maketrans({"≈": "~", "±": "+-", "×": "x", "…": "~", "–": "-"})


def show(console: Console, what: RenderableType) -> None:
    """Print `what`; signs that the console's encoding lacks are replaced, never an error."""
    if not console.options.ascii_only:
        console.print(what)
        return
    with console.capture() as captured:
        console.print(what)
    text = captured.get().translate(PLAIN)
    console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))
