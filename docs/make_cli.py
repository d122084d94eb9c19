"""Writes the reference pages that the code itself knows: `python docs/make_cli.py`.

docs/reference/cli.md comes from the commands' own help, docs/reference/study-files.md from the
settings of `StudyFile`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomlkit
import typer

from paretoprune.cli import app
from paretoprune.comparison.settings import Setting, settings

REFERENCE = Path(__file__).resolve().parent / "reference"
FILE = REFERENCE / "cli.md"
STUDY_FILE = REFERENCE / "study-files.md"
HEAD = """\
# Commands

<!-- written by docs/make_cli.py: change the help texts in paretoprune/cli, or the settings in
paretoprune/comparison/configuration.py, instead -->

Every command has `--help`. Exit codes: 0 when it worked, 1 when a rerun found other fronts, 2 for a
mistake in the input (one sentence on standard error), 130 after Ctrl-C.
"""
STUDY_HEAD = """\
# Settings of a study file

<!-- written by docs/make_cli.py: change the settings in paretoprune/comparison/configuration.py
instead -->

Every setting of `paretoprune compare`, by its name in a
[study file](../howto/write-a-study-file.md). The [option](cli.md#paretoprune-compare) has the same
name, with `-` for `_`. One value stands for a list of one.
"""


def page() -> str:
    """The whole page of commands."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, *_tables(root)]
    group = ""
    for name, command in root.commands.items():
        if command.rich_help_panel != group:
            group = command.rich_help_panel
            parts.append(f"## {group}\n")
        usage = " ".join(x for p in _arguments(command) if (x := _placeholder(p)))
        parts += [f"### paretoprune {name}\n", f"{command.help}\n"]
        parts.append(f"```text\nparetoprune {name} {usage + ' ' if usage else ''}[OPTIONS]\n```\n")
        parts += _table("argument", _arguments(command), _placeholder)
        parts += _tables(command)
    return "\n".join(parts).rstrip() + "\n"


def study_page() -> str:
    """The whole page of the settings of a study file."""
    parts = [STUDY_HEAD]
    grouped: dict[str, list[Setting]] = {}
    for setting in settings().values():
        grouped.setdefault(setting.group, []).append(setting)
    for group, members in grouped.items():
        lines = [f"## {group}\n", "| setting | type | default | meaning |", "|---|---|---|---|"]
        for one in members:
            default = one.chosen
            if one.has_default:
                default = f"`{tomlkit.item(one.plain_default).as_string()}`"
            text = " ".join(filter(None, (one.meaning, one.note)))
            lines.append(f"| `{one.name}` | {_type(one)} | {default or 'none'} | {_cell(text)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def _type(setting: Setting) -> str:
    name = {bool: "true or false", int: "whole number", float: "number", str: "text"}[setting.kind]
    return f"list of {name}s" if setting.is_list else name


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _arguments(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "argument"]


def _tables(command: Any) -> list[str]:
    """One table of options per group, in the order of the help."""
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    groups: dict[str | None, list[Any]] = {}
    for parameter in options:
        groups.setdefault(parameter.rich_help_panel, []).append(parameter)
    parts: list[str] = []
    for group, members in groups.items():
        parts += _table(group or "option", members, _flags)
    return parts


def _flags(parameter: Any) -> str:
    names = sorted(parameter.opts, key=len, reverse=True)
    return ", ".join([*names, *parameter.secondary_opts])


def _placeholder(argument: Any) -> str:
    name = argument.name.upper()
    return name if argument.required else f"[{name}]"


def _table(kind: str, parameters: list[Any], name: Any) -> list[str]:
    if not parameters:
        return []
    lines = [f"| {kind} | default | meaning |", "|---|---|---|"]
    for parameter in parameters:
        text = _cell(parameter.help or "")
        lines.append(f"| `{name(parameter)}` | {_default(parameter)} | {text} |")
    return ["\n".join(lines) + "\n"]


def _default(parameter: Any) -> str:
    """The default as the help shows it."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "required"
    if parameter.default in (None, []):
        return ""
    if isinstance(parameter.default, bool):
        return "on" if parameter.default else "off"
    values = parameter.default if isinstance(parameter.default, list) else [parameter.default]
    return ", ".join(f"`{value}`" for value in values)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    STUDY_FILE.write_text(study_page(), encoding="utf-8")
    print(f"written to {FILE} and {STUDY_FILE}")
