"""The settings of a study file as records, with their commented file and their reference table.

Each is declared once, as a field of `StudyFile`. The options of the command line are made from the
same records.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tomlkit
from pydantic.fields import FieldInfo

from paretoprune.comparison.configuration import StudyFile

WIDTH = 96
FILE_HEAD = (
    "A study, run by: paretoprune compare --config FILE",
    "Flags on the command line take precedence over this file.",
)


@dataclass(frozen=True)
class Setting:
    """One setting: its name, its type on the command line, its meaning and its default.

    `chosen` says in words what an empty default stands for; `is_optional` is true where there may
    be no value, `is_list` where there may be several. `example` and `note` are for files.
    """

    name: str
    group: str
    meaning: str
    default: Any
    kind: type
    is_optional: bool
    is_list: bool
    chosen: str
    example: Any
    note: str

    @property
    def has_default(self) -> bool:
        """Whether the default is a value, and not the absence of one."""
        return self.default not in (None, ())

    @property
    def plain_default(self) -> Any:
        """The default as a file holds it: a list where it is several values."""
        return list(self.default) if isinstance(self.default, tuple) else self.default


def settings() -> dict[str, Setting]:
    """All settings by name, in the order of `StudyFile`."""
    return {name: _setting(name, field) for name, field in StudyFile.model_fields.items()}


def _setting(name: str, field: FieldInfo) -> Setting:
    shown = field.json_schema_extra
    assert isinstance(shown, dict)
    kinds = _kinds(field.annotation)
    return Setting(
        name,
        meaning=field.description or "",
        default=field.default,
        kind=kinds[0] if kinds[0] in (bool, int, float) else str,
        is_optional=NoneType in kinds,
        is_list=kinds[0] is tuple,
        **shown,  # type: ignore[arg-type]
    )


def _kinds(annotation: Any) -> list[Any]:
    """The types of a union, without the rules on them."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for member in get_args(annotation) for kind in _kinds(member)]
    return [get_origin(annotation) or annotation]


def commented_study() -> str:
    """The text of a study file: every setting with its meaning, at its default."""
    document = tomlkit.document()
    for line in FILE_HEAD:
        document.add(tomlkit.comment(line))
    group = ""
    for setting in settings().values():
        document.add(tomlkit.nl())
        if setting.group != group:
            group = setting.group
            document.add(tomlkit.comment(f"--- {group} ---"))
            document.add(tomlkit.nl())
        default = f"Default: {setting.chosen}." if setting.chosen else ""
        text = " ".join(filter(None, (setting.meaning, setting.note, default)))
        for line in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False):
            document.add(tomlkit.comment(line))
        if setting.has_default:
            document.add(setting.name, setting.plain_default)
        else:
            example = tomlkit.dumps({setting.name: setting.example}).strip()
            document.add(tomlkit.comment(example))
    return tomlkit.dumps(document)
