"""Example pictures of a comparison: what the best front's schedules keep of held-out samples.

Chosen by rule, not by hand: at each of two budgets the configuration that the search split picks
there, and the first held-out sample of each of a few question families.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from paretoprune.comparison import Comparison
from paretoprune.errors import BrokenFileError
from paretoprune.kept import Example
from paretoprune.problem import Candidate
from paretoprune.results import FrontPoint, Summary

EXAMPLES_NAME = "examples.json"
DEFAULT_COUNT = 4
BUDGETS = (0.5, 0.25)
"""Relative compute at which schedules are shown."""


class Examples(BaseModel):
    """What a results folder holds of examples; `label` and `seed` name the study they are from."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    format: Literal["paretoprune-examples/1"] = "paretoprune-examples/1"
    label: str
    seed: int
    examples: list[Example]


def examples_of(comparison: Comparison, count: int = DEFAULT_COUNT) -> Examples | None:
    """Run a few configurations of the best front on `count` held-out samples, and record it.

    None where nothing can be shown: without held-out data, keep schedules or places of tokens.
    """
    heldout = comparison.problem.heldout
    chosen = points_to_show(comparison.summary)
    if heldout is None or not chosen or count < 1:
        return None
    first = chosen[0][1]
    study = next(
        s
        for s in comparison.studies
        if s.spec.label == first.label and s.result.seed == first.seed
    )
    candidates: dict[str, Candidate] = {
        label: study.evaluations[point.trial].candidate for label, point in chosen
    }
    found = heldout.examples(candidates, count)
    return Examples(label=first.label, seed=first.seed, examples=found) if found else None


def points_to_show(
    summary: Summary, budgets: Sequence[float] = BUDGETS
) -> list[tuple[str, FrontPoint]]:
    """Points of the best front with a label each: what the search split picks at each budget.

    Where all points are dearer than every budget, the cheapest one.
    """
    points = [p for p in summary.front_of_best() if _compute(p) is not None]
    quality = next((o.name for o in summary.objectives if o.direction == "max"), None)
    if quality is None:
        return []
    chosen: dict[int, FrontPoint] = {}
    drawable = [p for p in points if p.keep is not None]
    for budget in budgets:
        affordable = [p for p in points if (_compute(p) or 0.0) <= budget]
        if affordable:
            best = max(affordable, key=lambda p: p.search[quality])
            chosen.setdefault(best.trial, best)
    if not chosen and drawable:
        cheapest = min(drawable, key=lambda p: _compute(p) or 0.0)
        chosen[cheapest.trial] = cheapest
    return [(f"point {points.index(p) + 1}, u = {_compute(p):.2f}", p) for p in chosen.values()]


def _compute(point: FrontPoint) -> float | None:
    """Relative compute on the search split, whether it was an objective or not."""
    return point.search.get("compute", point.metrics.get("compute"))


def write_examples(folder: Path, examples: Examples) -> None:
    """Write `examples.json` into a results folder, whole or not at all."""
    file = folder / EXAMPLES_NAME
    partial = file.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(examples.model_dump_json() + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise BrokenFileError(f"cannot write {file}: {error.strerror}") from error


def read_examples(folder: Path) -> Examples | None:
    """Read `examples.json` of a results folder; None without one.

    Raises `BrokenFileError` naming what is wrong.
    """
    file = folder / EXAMPLES_NAME
    try:
        return Examples.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenFileError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{file} is not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BrokenFileError(f"{file}: {where}: {first['msg']}") from error
