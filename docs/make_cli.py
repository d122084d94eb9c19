"""Writes docs/reference/cli.md from the commands' own help: `python docs/make_cli.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from paretoprune.cli import app

FILE = Path(__file__).resolve().parent / "reference" / "cli.md"
HEAD = """\
# Commands

<!-- written by docs/make_cli.py: change the help texts in paretoprune/cli instead -->

Every command has `--help`. Exit codes: 0 when it worked, 2 for a mistake in the input (one sentence
on standard error), 130 after Ctrl-C.
"""


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, *_options(root)]
    for name, command in _commands(root, "paretoprune"):
        usage = " ".join(x for p in _arguments(command) if (x := _placeholder(p)))
        parts += [f"## {name}\n", f"{command.help}\n"]
        parts.append(f"```text\n{name} {usage + ' ' if usage else ''}[OPTIONS]\n```\n")
        parts += _table("argument", _arguments(command), _placeholder)
        parts += _options(command)
    return "\n".join(parts).rstrip() + "\n"


def _commands(group: Any, prefix: str) -> list[tuple[str, Any]]:
    found = []
    for name, command in group.commands.items():
        path = f"{prefix} {name}"
        found += _commands(command, path) if hasattr(command, "commands") else [(path, command)]
    return found


def _arguments(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "argument"]


def _options(command: Any) -> list[str]:
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    return _table("option", options, lambda p: ", ".join(sorted(p.opts, key=len, reverse=True)))


def _placeholder(argument: Any) -> str:
    name = argument.name.upper()
    return name if argument.required else f"[{name}]"


def _table(kind: str, parameters: list[Any], name: Any) -> list[str]:
    if not parameters:
        return []
    lines = [f"| {kind} | default | meaning |", "|---|---|---|"]
    for parameter in parameters:
        text, default = _split(parameter)
        lines.append(f"| `{name(parameter)}` | {default} | {text} |")
    return ["\n".join(lines) + "\n"]


def _split(parameter: Any) -> tuple[str, str]:
    """Help text and default; a default that the help text spells out is taken from there."""
    text = (parameter.help or "").replace("|", "\\|")
    told = re.search(r"\s*\[default: (.*)\]", text)
    if told:
        return text.replace(told[0], ""), told[1]
    if getattr(parameter, "is_flag", False):
        return text, "off"
    if parameter.required:
        return text, "required"
    return text, "" if parameter.default is None else f"`{parameter.default}`"


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    print(f"written to {FILE}")
