"""Study files: one typed description of a `paretoprune compare`, read from TOML.

The command line builds the same `StudyFile` from its flags, so there is one path. Each setting is
declared here alone: `settings` makes the command line's options, the commented file and the
reference page of it. Several models, tasks or pruners make several comparisons: see `sweep`.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from paretoprune.core.options import is_location, split_spec, split_specs
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    brief,
)
from paretoprune.files import read_text, write_whole
from paretoprune.search import DEFAULT_STRATEGIES

if TYPE_CHECKING:
    from paretoprune.search.specs import StrategySpec

STUDY_NAME = "study.toml"
MAX_BYTES = 1_000_000
COMPRESSION = "compression"
TOKENS = "tokens"
DEFAULT_OBJECTIVES = "score,compute"
"""Default where tokens alone are searched; other techniques have their own."""
RISKY = ("problem", "pruner", "trust_remote_code")
"""Settings of a problem that may name code to run."""
PLACES = ("storage", "executor", "workers", "cluster")
"""Settings that do not change a study's results: they may differ when it is resumed."""


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
    return tuple(
        spec
        for one in found
        for spec in (
            [_from_table(one)]
            if isinstance(one, Mapping)
            else split_specs(one)
            if isinstance(one, str)
            else [one]
        )
    )


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

WHAT = "What"
PRUNING = "Pruning"
HOW_MUCH = "How much"
MODEL = "Model and data"
INFRASTRUCTURE = "Infrastructure"
CONFIRMED = "A file alone cannot say this: repeat it on the command line."
CONFIRMED_CODE = "A file alone cannot name code of your own: repeat it on the command line."


def _setting(
    default: Any,
    group: str,
    meaning: str,
    *,
    chosen: str = "",
    example: Any = None,
    note: str = "",
    **rules: Any,
) -> Any:
    """A field, and how the command line, the commented file and the reference page show it.

    `chosen` says in words what an empty default stands for, `example` is a value for the commented
    file then, and `note` is for files alone.
    """
    shown = {"group": group, "chosen": chosen, "example": example, "note": note}
    return Field(default=default, description=meaning, json_schema_extra=shown, **rules)


class StudyFile(BaseModel):
    """Every setting of `paretoprune compare`, by the name of its flag; see `compare --help`.

    `model`, `task` and `pruner` take one value or a list; without `task`, each model's own, without
    `strategy`, those that fit. `seeds` is a number N, for 0 to N-1, or a list. `data` is one place
    for all tasks or one for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    strategy: Strategies = _setting(
        (), WHAT,
        "Strategies to compare, with commas: name, name:option=value,... or file.py:Class of your "
        "own.",
        chosen=f"those of {', '.join(DEFAULT_STRATEGIES)} that fit",
        example=list(DEFAULT_STRATEGIES),
        note='Options also as a table: {name = "tpe", startup = 5}. ' + CONFIRMED_CODE,
    )  # fmt: skip
    problem: Text = _setting(
        COMPRESSION, WHAT,
        "Problem to search: compression, zdt1, dtlz2, or your own at file.py:attribute or "
        "module:attribute.",
        note=CONFIRMED_CODE,
    )  # fmt: skip
    compress: Annotated[Text, BeforeValidator(_joined)] = _setting(
        TOKENS, WHAT,
        "Techniques to search, with commas: tokens, weight_bits, kv_bits.",
    )  # fmt: skip
    objectives: Annotated[Text, BeforeValidator(_joined)] = _setting(
        DEFAULT_OBJECTIVES, WHAT,
        "score and one or more costs: compute, latency_ms, kv_bytes, peak_memory_bytes, "
        "visual_tokens, weight_bytes, memory_bytes. Techniques other than tokens have a default "
        "of their own.",
    )  # fmt: skip
    reference: Text | None = _setting(
        None, WHAT,
        "Exhaustive front that IGD+, epsilon and Hausdorff refer to: grid:fine, grid:medium or "
        "grid:coarse.",
        chosen="the union front", example="grid:fine",
    )  # fmt: skip
    pruner: Names = _setting(
        ("fastv",), PRUNING,
        "Pruner, which decides which visual tokens are dropped: name, name:knob=value,... or "
        "file.py:Class of your own. Of several with commas, or all, the search chooses.",
        note=f"Each entry of a list is compared separately. {CONFIRMED_CODE}", min_length=1,
    )  # fmt: skip
    pruner_knobs: bool | None = _setting(
        None, PRUNING, "Search the pruners' own knobs, too.", chosen="with several pruners",
        example=True,
    )  # fmt: skip
    per_picture: bool = _setting(
        False, PRUNING,
        "Keep at least one visual token of each picture of a prompt in each layer with a ratio "
        "above 0; without it, one of each sample.",
    )  # fmt: skip
    levels: int | None = _setting(
        None, PRUNING, "Steps of the keep-ratio lattice.", chosen="multiples of 8 visual tokens",
        example=18, ge=1, le=100_000,
    )  # fmt: skip
    with_presets: bool = _setting(
        False, PRUNING,
        "Compare the front with all published presets that the model can run; with --preset only "
        "with those.",
    )  # fmt: skip
    preset: Names = _setting(
        (), PRUNING,
        "Published configuration to compare the front with, such as fastv:k=2,r=0.5, or all of a "
        "method, such as fastv. Presets are not searched, charged or ranked.",
        example=["fastv:k=2,r=0.5"],
    )  # fmt: skip
    budget: float = _setting(
        15.0, HOW_MUCH,
        "Search cost per study in dense-pass equivalents, more than 0. One is the dense decoder "
        "over the search split.",
        gt=0, allow_inf_nan=False,
    )  # fmt: skip
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Seeds = _setting(
        2, HOW_MUCH, "Seeds per strategy; N stands for 0 to N-1.",
        note="Or a list such as [0, 3, 7].",
    )  # fmt: skip
    search_size: Size | None = _setting(
        None, HOW_MUCH, "Samples of the search split.", chosen="128, or all that the data have",
        example=128,
    )  # fmt: skip
    heldout_size: Size | None = _setting(
        None, HOW_MUCH, "Samples of the held-out split.", chosen="192, or all that the data have",
        example=192,
    )  # fmt: skip
    model: Names = _setting(
        ("mini-llava",), MODEL,
        "Embedded mini-model, checkpoint directory, or hub name owner/model.",
        note="Each combination of model, task and pruner is compared separately.", min_length=1,
    )  # fmt: skip
    task: Names = _setting(
        (), MODEL, "Task that candidates are scored on: name or name:option=value,...",
        chosen="the one an embedded mini-model was trained on, else minivqa", example=["minivqa"],
    )  # fmt: skip
    data: Names = _setting(
        (), MODEL,
        "Data of a task that reads any: a file (Parquet, TSV, JSON, CSV), a folder, or a hub name "
        "owner/name.",
        example=["data/pope.parquet"],
        note="One place for all tasks, or one for each.",
    )  # fmt: skip
    data_seed: Seed = _setting(0, MODEL, "Seed that the splits are drawn with.")
    batch: int = _setting(64, MODEL, "Samples per decoder batch.", ge=1, le=1_000_000)
    dtype: Text = _setting(
        "float32", MODEL, "Type of weights and activations: float32, bfloat16, float16."
    )
    device: Text = _setting("cpu", MODEL, "Torch device, such as cpu or cuda.")
    attn: Text = _setting(
        "auto", MODEL,
        "Attention backend: auto (what transformers prefers for the model), sdpa, eager, "
        "flash_attention_2.",
    )  # fmt: skip
    trust_remote_code: bool = _setting(
        False, MODEL, "Run Python code that comes with the checkpoint.", note=CONFIRMED
    )
    executor: Literal["in-process", "ray"] = _setting(
        "in-process", INFRASTRUCTURE,
        "Where evaluations run: in-process, or ray (extra ray) on many workers.",
    )  # fmt: skip
    workers: int | None = _setting(
        None, INFRASTRUCTURE, "Workers of --executor ray, each with its own model.",
        chosen="one per GPU, or per core without GPUs", example=8, ge=1, le=100_000,
    )  # fmt: skip
    cluster: Text | None = _setting(
        None, INFRASTRUCTURE, "Address of a running Ray cluster, such as auto or HOST:6379.",
        chosen="a new one on this machine", example="auto", note=CONFIRMED,
    )  # fmt: skip
    storage: Text | None = _setting(
        None, INFRASTRUCTURE,
        "Database of the study log, postgresql://USER@HOST/DATABASE (extra postgresql).",
        chosen="study.db in the results folder", example="postgresql://me@host/studies",
        note=CONFIRMED,
    )  # fmt: skip
    track: Names = _setting(
        (), INFRASTRUCTURE,
        "Log the searches to tensorboard:FOLDER or mlflow:URI (extra of that name).",
        example=["tensorboard:runs"], note=CONFIRMED,
    )  # fmt: skip
    out: Text | None = _setting(
        None, INFRASTRUCTURE, "Results folder, new or empty.",
        chosen="paretoprune-results, numbered", example="results",
        note="In a file, a folder next to it.",
    )  # fmt: skip

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
        """Flags, by setting, for actions that a file alone may not ask for.

        That is to run code that comes with it, to write anywhere but in the results folder, and to
        send data elsewhere.
        """
        flags: dict[str, str] = {}
        if self.trust_remote_code:
            flags["trust_remote_code"] = "--trust-remote-code"
        if any(map(_is_code, self.strategy)):
            flags["strategy"] = shlex.join(["--strategy", ",".join(self.strategy)])
        if is_location(self.problem):
            flags["problem"] = shlex.join(["--problem", self.problem])
        if any(_is_code(spec) for text in self.pruner for spec in split_specs(text)):
            flags["pruner"] = _repeated("--pruner", self.pruner)
        if self.track:
            flags["track"] = _repeated("--track", self.track)
        if self.storage is not None:
            from paretoprune.comparison.log.place import without_password

            flags["storage"] = shlex.join(["--storage", without_password(self.storage)])
        if self.cluster is not None:
            flags["cluster"] = shlex.join(["--cluster", self.cluster])
        return flags

    def confirm(self, given: Mapping[str, Any]) -> None:
        """Raise `InvalidValueError` for a flag to confirm that `given` does not repeat."""
        for key, flag in self.flags_to_confirm().items():
            if key in given and (key in PLACES or self._repeats(key, given[key])):
                continue
            raise InvalidValueError(
                "the study file asks for what a file alone may not do; if you trust it, say so "
                f"on the command line, too: {flag}"
            )

    def _repeats(self, key: str, value: Any) -> bool:
        """Whether a value given for a setting is this study's own, or holds it."""
        own, repeated = getattr(self, key), getattr(self.changed({key: value}), key)
        return set(own) <= set(repeated) if isinstance(own, tuple) else bool(own == repeated)

    def specs(self) -> list[StrategySpec]:
        """The strategies; raises an error for an unknown name or a malformed option."""
        from paretoprune.search.specs import StrategySpec

        return [StrategySpec.parse(text) for text in self.strategy]


def _is_code(spec: str) -> bool:
    """Whether `name:option=value,...` names a location, whose code would be run."""
    return is_location(split_spec(spec)[0])


def _repeated(flag: str, values: tuple[str, ...]) -> str:
    return shlex.join(part for value in values for part in (flag, value))


def read_study(file: Path) -> StudyFile:
    """Read a study file; `out` becomes a path next to it.

    Raises `BrokenFileError` naming the file, the setting and the reason, with the nearest name for
    a setting that does not exist.
    """
    text = read_text(file, "study file", MAX_BYTES)
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
            f"study file {file}: out must be a folder next to the file, got {study.out!r}; --out "
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
    reason = re.sub(r"^(Input|Tuple|String) should", "must", error["msg"])
    return InvalidValueError(f"{setting} {reason}, got {value}")
