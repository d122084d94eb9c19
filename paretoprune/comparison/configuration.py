"""Study files: one typed description of what `paretoprune compare` does, read from TOML.

The command line builds the same `StudyFile` from its flags, so there is one path. Several models,
tasks or pruners make a matrix: one comparison per combination, a `Case` each.
"""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    brief,
)
from paretoprune.files import read_text, write_whole
from paretoprune.search.specs import StrategySpec

STUDY_NAME = "study.toml"
MOST_BYTES = 1_000_000
COMPRESSION = "compression"
TOKENS = "tokens"
PLACES = ("storage", "executor", "workers", "cluster")
"""Settings that say where a study runs, not what it finds: they may differ when it is resumed."""


def _listed(value: Any) -> Any:
    """One value stands for a list of one."""
    return tuple(value) if isinstance(value, list) else (value,) if _is_one(value) else value


def _is_one(value: Any) -> bool:
    return isinstance(value, str | Mapping)


def _written(value: Any) -> Any:
    """Strategies as `name:option=value`; tables such as `{name = "tpe", startup = 5}` become so."""
    found = _listed(value)
    if not isinstance(found, tuple):
        return found
    return tuple(_from_table(one) if isinstance(one, Mapping) else one for one in found)


def _from_table(table: Mapping[str, Any]) -> str:
    name = table.get("name")
    if not isinstance(name, str):
        raise ValueError('a strategy is written as "tpe" or {name = "tpe", startup = 5}')
    parts = []
    for key, option in table.items():
        text = str(option).lower() if isinstance(option, bool) else str(option)
        if not isinstance(option, str | int | float) or re.search(r"[,=:\s]", key + text):
            raise ValueError(
                f"option {key!r} of strategy {name!r} must be a number, a name or true"
            )
        if key != "name":
            parts.append(f"{key}={text}")
    return name + (":" + ",".join(parts) if parts else "")


def _joined(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list) and all(map(_is_one, value)) else value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(max_length=100)]
Strategies = Annotated[tuple[Text, ...], BeforeValidator(_written), Field(max_length=1000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seeds = Annotated[
    tuple[Seed, ...], BeforeValidator(_listed), Field(min_length=1, max_length=10_000)
]
Size = Annotated[int, Field(ge=2, le=10_000_000)]


class StudyFile(BaseModel):
    """Every setting of `paretoprune compare`, by the name of its flag; see `compare --help`.

    `model`, `task` and `pruner` take one value or a list; no `task` is each model's own, no
    `strategy` those that fit. `seeds` is a number N, for 0 to N-1, or a list. `out` lies beside the
    file. `data` is one place for all tasks or one for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    strategy: Strategies = ()
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Seeds = 2
    budget: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    model: Names = Field(default=("mini-llava",), min_length=1)
    task: Names = ()
    data: Names = ()
    pruner: Names = Field(default=("fastv",), min_length=1)
    pruner_knobs: bool | None = None
    per_picture: bool = False
    search_size: Size | None = None
    heldout_size: Size | None = None
    data_seed: Seed = 0
    levels: int | None = Field(default=None, ge=1, le=100_000)
    objectives: Annotated[Text, BeforeValidator(_joined)] = "score,flops"
    reference: Text | None = None
    with_presets: bool = False
    preset: Names = ()
    batch: int = Field(default=64, ge=1, le=1_000_000)
    dtype: Text = "float32"
    device: Text = "cpu"
    attn: Text = "auto"
    trust_remote_code: bool = False
    problem: Text = COMPRESSION
    compress: Annotated[Text, BeforeValidator(_joined)] = TOKENS
    track: Names = ()
    storage: Text | None = None
    executor: Literal["in-process", "ray"] = "in-process"
    workers: int | None = Field(default=None, ge=1, le=100_000)
    cluster: Text | None = None
    out: Text | None = None

    @property
    def tokens_alone(self) -> bool:
        """Whether visual tokens are all that is compressed."""
        return self.problem == COMPRESSION and self.compress == TOKENS

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds themselves."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def changed(self, values: Mapping[str, Any], *, by: str = "--") -> StudyFile:
        """The same study with other settings; raises `InvalidValueError`, naming flags `by` + key.

        An unknown key raises `UnknownNameError`.
        """
        return _validated(self.model_dump(exclude_unset=True) | dict(values), by)

    def flags_to_confirm(self) -> dict[str, str]:
        """Flags, by setting, for what a file alone may not do.

        That is to run code that comes with it, and to write elsewhere than in the results folder,
        or send data there.
        """
        from paretoprune.compression.named import is_location

        found: dict[str, str] = {}
        if self.trust_remote_code:
            found["trust_remote_code"] = "--trust-remote-code"
        if is_location(self.problem):
            found["problem"] = shlex.join(["--problem", self.problem])
        if self.track:
            found["track"] = shlex.join(part for name in self.track for part in ("--track", name))
        if self.storage is not None:
            from paretoprune.comparison.log.place import without_password

            found["storage"] = shlex.join(["--storage", without_password(self.storage)])
        if self.cluster is not None:
            found["cluster"] = shlex.join(["--cluster", self.cluster])
        return found

    def confirm(self, given: Collection[str]) -> None:
        """Raise `InvalidValueError` for a flag to confirm that is not among the `given` ones."""
        for key, flag in self.flags_to_confirm().items():
            if key not in given:
                raise InvalidValueError(
                    "the study file asks for what a file alone may not do; if you trust it, say so "
                    f"on the command line, too: {flag}"
                )

    def cases(self) -> list[Case]:
        """One comparison per model, task and pruner; raises `InvalidValueError` for repeats."""
        if self.problem != COMPRESSION:
            return [Case("", self)]
        for key in ("model", "task", "pruner"):
            values = getattr(self, key)
            for value in values:
                if values.count(value) > 1:
                    raise InvalidValueError(f"{key} {value!r} is named twice")
        if len(self.data) > 1 and len(self.data) != len(self.task):
            raise InvalidValueError(
                f"give data once for all tasks or once for each of the {len(self.task)}, got "
                f"{len(self.data)}"
            )
        tasks: list[tuple[str, ...]] = [(t,) for t in self.task] or [()]
        data = [(d,) for d in self.data] if len(self.data) > 1 else [self.data] * len(tasks)
        singles = [
            self.model_copy(update={"model": (m,), "task": t, "data": d, "pruner": (p,)})
            for m, (t, d), p in itertools.product(
                self.model, zip(tasks, data, strict=True), self.pruner
            )
        ]
        if len(singles) == 1:
            return [Case("", singles[0])]
        return [Case(name, one) for name, one in zip(_folders(singles, self), singles, strict=True)]

    def specs(self) -> list[StrategySpec]:
        """The strategies; raises what names an unknown one or a malformed option."""
        return [StrategySpec.parse(text) for text in self.strategy]


@dataclass(frozen=True)
class Case:
    """One comparison of a study: a study of one model, task and pruner, and its sub-folder.

    `folder` is empty where there is only one.
    """

    folder: str
    study: StudyFile


def _folders(cases: list[StudyFile], whole: StudyFile) -> Iterator[str]:
    """Names of sub-folders: what differs between the cases, in letters that every disk takes."""
    taken: set[str] = set()
    for case in cases:
        parts = [
            getattr(case, key)[0]
            for key in ("model", "task", "pruner")
            if len(getattr(whole, key)) > 1
        ]
        plain = [re.sub(r"[^A-Za-z0-9.=+-]+|[.]{2,}", "-", part).strip(".-") for part in parts]
        slug = "_".join(plain)
        name = slug[:100] or "case"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{slug[:100]}-{number}"
        taken.add(name.lower())
        yield name


def read_study(file: Path) -> StudyFile:
    """Read a study file; `out` becomes a path beside it.

    Raises `BrokenFileError` naming the file, the setting and the reason, with the nearest name for
    a setting that does not exist.
    """
    text = read_text(file, "study file", MOST_BYTES)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BrokenFileError(f"study file {file} is not TOML: {reason}") from error
    try:
        study = _validated(values, "")
    except ParetopruneError as error:
        raise BrokenFileError(f"study file {file}: {error}") from error
    if study.out is None:
        return study
    out = Path(study.out)
    if out.is_absolute() or ".." in out.parts:
        raise BrokenFileError(
            f"study file {file}: out must be a folder beside the file, got {study.out!r}; --out "
            "takes any"
        )
    return study.model_copy(update={"out": str(file.parent / out)})


def write_study(file: Path, study: StudyFile) -> None:
    """Write every setting that has a value, whole or not at all; a password is left out."""
    values = {k: v for k, v in study.model_dump(exclude={"out"}).items() if v not in (None, ())}
    if study.storage is not None:
        from paretoprune.comparison.log.place import without_password

        values["storage"] = without_password(study.storage)
    write_whole(file, tomlkit.dumps(values).encode("utf-8"))


def _validated(values: Mapping[str, Any], by: str) -> StudyFile:
    try:
        return StudyFile.model_validate(dict(values))
    except ValidationError as error:
        # of a union's complaints, the one that got furthest says most
        first = max(error.errors(include_url=False), key=lambda e: len(e["loc"]))
        raise _explained(first, by) from error


def _explained(error: ErrorDetails, by: str) -> ParetopruneError:
    key = str(error["loc"][0]) if error["loc"] else "the file"
    if error["type"] == "extra_forbidden":
        return UnknownNameError("setting", key[:100], StudyFile.model_fields)
    setting = by + (key.replace("_", "-") if by else key)
    value = brief(error["input"], 100)
    if error["type"] == "value_error":
        return InvalidValueError(f"{setting}: {error['msg'].removeprefix('Value error, ')}")
    if error["type"] == "too_short":
        return InvalidValueError(f"{setting} must have a value, got an empty list")
    if error["type"] == "greater_than":
        unit = " dense passes" if key == "budget" else ""
        return InvalidValueError(
            f"{setting} must be more than {error['ctx']['gt']:g}{unit}, got {value}"
        )
    told = re.sub(r"^(Input|Tuple|String) should", "must", error["msg"])
    return InvalidValueError(f"{setting} {told}, got {value}")
