"""Options made from the settings of a study file, so that each is declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from paretoprune.comparison.configuration import HOW_MUCH, INFRASTRUCTURE, MODEL, PRUNING, WHAT
from paretoprune.comparison.settings import Setting, settings

SETTINGS = settings()
PANELS = (WHAT, PRUNING, HOW_MUCH, MODEL, INFRASTRUCTURE)
"""Groups of options in the order of the help; the first one also holds `--help`."""
SHORT = {"strategy": ("-s",)}

Results = Annotated[Path, typer.Argument(help="Results folder of compare or search.")]
Command = TypeVar("Command", bound=Callable[..., None])


def option(
    *flags: str, help: str, panel: str = WHAT, default: str | bool = True, **rules: Any
) -> Any:
    """An option in a group; `default` shows a default in words, or says whether to show it."""
    return typer.Option(
        *flags, help=help, show_default=default, metavar="",
        rich_help_panel=None if panel == WHAT else panel, **rules,
    )  # fmt: skip


def with_settings(
    *names: str, single: bool = False, default: str = ""
) -> Callable[[Command], Command]:
    """Give a command the settings `names` as options; it takes them as `**settings`.

    With `single`, a setting that may have several values takes one. `default` says in words what
    stands for options that are not given, where it is not the setting's own default. Options are
    ordered by their group, the command's own ones first.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [p for p in own if p.kind is not p.VAR_KEYWORD]
        parameters += [_parameter(SETTINGS[name], single, default) for name in names]
        parameters.sort(key=_place)
        keyword = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
        command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in keyword}
        return command

    return decorate


def given_options(context: typer.Context) -> dict[str, Any]:
    """Options and arguments that were given, by name; paths as text."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The given options that are settings of a study file."""
    return {n: value for n, value in given_options(context).items() if n in SETTINGS}


def _place(parameter: inspect.Parameter) -> int:
    """Arguments and the context come first, then options by group."""
    panels = [
        getattr(info, "rich_help_panel", None) or WHAT
        for info in getattr(parameter.annotation, "__metadata__", ())
        if not isinstance(info, typer.models.ArgumentInfo)
    ]
    return 1 + PANELS.index(panels[0]) if panels else 0


def _parameter(setting: Setting, single: bool, unless: str) -> inspect.Parameter:
    several = setting.is_list and not single
    default = setting.plain_default if setting.has_default and not unless else None
    if setting.is_list and not several and default is not None:
        default = default[0]
    name = setting.name.replace("_", "-")
    is_switch = setting.kind is bool
    made = option(
        f"--{name}/--no-{name}" if is_switch and setting.is_optional else f"--{name}",
        *SHORT.get(setting.name, ()),
        help=setting.meaning + (" Repeat for several." if several else ""),
        panel=setting.group,
        default=unless or setting.chosen or not is_switch,
    )
    kind: Any = list[str] if several else setting.kind
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None else kind, made],
    )
