"""`--help` at 80 columns: groups of commands and of options, and nothing that is cut."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from commands import run_command

from paretoprune.cli import app
from paretoprune.cli.options import PANELS
from paretoprune.comparison.settings import settings

ROOT: Any = typer.main.get_command(app)
GROUPS = ("Search", "Use", "Read", "Check", "Evidence")


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_commands_are_in_groups_and_every_summary_is_one_line() -> None:
    lines = run_command("--help").stdout.splitlines()
    titles = [line.strip("╭─╮ ") for line in lines if line.startswith("╭")]
    assert titles == ["Options", *GROUPS]
    for name, command in ROOT.commands.items():
        assert command.rich_help_panel in GROUPS
        summary = command.help.split("\n")[0]
        assert any(line.strip("│ ").split() == [name, *summary.split()] for line in lines), name
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("name", ROOT.commands)
def test_the_help_of_a_command_loses_nothing(name: str) -> None:
    text = run_command(name, "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.replace("│", " ").split())
    for parameter in ROOT.commands[name].params:
        if parameter.name != "help":
            assert parameter.help
            assert " ".join(parameter.help.split()) in words, parameter.name  # no markup eats it


def test_options_of_compare_are_in_groups() -> None:
    lines = run_command("compare", "--help").stdout.splitlines()
    titles = [line.strip("╭─╮ ") for line in lines if line.startswith("╭")]
    assert titles == ["Options", *PANELS[1:]]
    assert list(dict.fromkeys(setting.group for setting in settings().values())) == list(PANELS)


def test_arguments_are_what_a_command_is_about() -> None:
    """A file, a folder or a name comes first and has no option of the same meaning."""
    for name, command in ROOT.commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        assert len(arguments) <= 1, name
        options = {p.name for p in command.params if p.param_type_name == "option"}
        assert not options & {p.name for p in arguments}
