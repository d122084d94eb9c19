"""Results of a comparison, as typed data: `comparison.json`, `front.csv`, schedule files.

Tables, figures and the HTML report are drawn from these alone, so `paretoprune report` needs
neither the model nor torch.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from paretoprune.errors import BrokenFileError, plain
from paretoprune.files import StoredModel, read_stored, write_stored, write_whole
from paretoprune.schedules.files import ScheduleFile, write_schedule

SUMMARY_NAME = "comparison.json"
FRONT_NAME = "front.csv"
SCHEDULES = "schedules"


class ObjectiveInfo(StoredModel):
    """One objective: see `problem.Objective`."""

    name: str
    direction: Literal["max", "min"]
    unit: str
    reference: float
    best: float


class FrontPoint(StoredModel):
    """One non-dominated configuration of one study, with its held-out values.

    `search` and `heldout` hold the objectives by name on each split, `*_error` their standard
    errors; `heldout` is None where no held-out data were evaluated. `on_union` marks points of the
    union front: the non-dominated ones among all studies, on the search split. `separated` says
    whether the point's quality exceeds that of all front points that cost no more by more than
    sampling error (search split, paired, 95 %; None where this is not known). `keep` is the keep
    schedule, where the problem has one, of an adaptive policy (`policy` is its key) the mean over
    samples, and `pruner` with `pruner_settings` what ranks its tokens;
    `parts` is the mean outcome per part of the data (question family), held-out where there is any;
    `trial` is the number of the evaluation in the study log.
    """

    label: str
    seed: int
    trial: int
    space: str
    knobs: dict[str, float | int | str]
    keep: list[float] | None
    pruner: str | None = None
    pruner_settings: dict[str, float | int | str] = Field(default={})
    parts: dict[str, float] = Field(default={})
    policy: str | None = None
    search: dict[str, float]
    search_error: dict[str, float]
    heldout: dict[str, float] | None
    heldout_error: dict[str, float]
    metrics: dict[str, float]
    on_union: bool
    separated: bool | None = None


class PresetPoint(StoredModel):
    """A published configuration, compared with the found front; `names` are all its names here.

    The found front is the union front. `dominated` says whether one of its points is no worse in
    any objective and better in one, on the search split. `rival` is the place in `front` of what
    the search split picks of it at no higher cost (None: all of it costs more); `gain` is the
    rival's held-out quality minus the preset's, with its 95 % interval (without held-out data: of
    the search split, and no interval). `saved` is the cost that the cheapest point of no lower
    search quality saves (None: there is none).
    """

    names: list[str]
    about: list[str]
    keep: list[float] | None
    pruner: str | None = None
    pruner_settings: dict[str, float | int | str] = Field(default={})
    search: dict[str, float]
    search_error: dict[str, float]
    heldout: dict[str, float] | None
    heldout_error: dict[str, float]
    metrics: dict[str, float]
    dominated: bool
    rival: int | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    saved: float | None


class ReferenceFront(StoredModel):
    """An exhaustive front that the studies are measured against.

    `costs` are its points normalised to 0..1, `[points][objectives]`; `evaluations` were needed to
    find it. `cost` is their nominal price in dense-pass equivalents, `executed` the compute.
    """

    name: str
    evaluations: int
    costs: list[list[float]]
    hypervolume: float
    cost: float
    executed: float
    seconds: float


class StudyRow(StoredModel):
    """One study: a strategy with one seed.

    Costs are in dense-pass equivalents; `points` are the objective values of all successful
    evaluations in order, `[evaluations][objectives]`; `curve` is hypervolume over search cost.
    """

    label: str
    strategy: str
    space: str
    seed: int
    evaluations: int
    failures: int
    cost: float
    executed: float
    seconds: float
    evaluating: float
    stopped: str
    front_size: int
    hypervolume: float
    igd_plus: float
    epsilon: float
    hausdorff: float
    heldout_area: float | None
    points: list[list[float]]
    curve: list[tuple[float, float]]


class Standing(StoredModel):
    """A strategy's line in the table: means over its seeds; the area with its 95 % interval.

    `separated` says whether it differs from the best strategy by more than chance: see `PairRow`.
    """

    rank: int
    label: str
    strategy: str
    space: str
    seeds: list[int]
    heldout_area: float | None
    area_low: float | None
    area_high: float | None
    separated: bool | None
    hypervolume: float
    igd_plus: float
    epsilon: float
    hausdorff: float
    front_size: float
    evaluations: float
    cost: float
    executed: float
    seconds: float


class PairRow(StoredModel):
    """Two strategies on the same held-out samples: see `frontier.Pair`.

    `difference` is first minus second in held-out front area, `low` to `high` its 95 % interval,
    `adjusted` its p-value corrected for all pairs of the comparison (Holm), `effect_size` Cohen's
    d_z over samples (None where it is infinite).
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    adjusted: float
    effect_size: float | None
    separated: bool


class KnobImportance(StoredModel):
    """Loss of explained variance when a knob's values are shuffled: mean and standard error."""

    knob: str
    mean: float
    error: float


class Sensitivity(StoredModel):
    """Importance of each knob of a space for one objective: see `paretoprune.frontier.importance`.

    `explained` is the variance (R²) of `evaluations` that a fit explains where they are left out;
    near or below 0, its importances say nothing.
    """

    space: str
    objective: str
    evaluations: int
    explained: float
    knobs: list[KnobImportance]


class Summary(StoredModel):
    """Everything about one comparison; `problem`, `heldout_problem`: their own descriptions.

    `reference` is the exhaustive front that IGD+, epsilon and Hausdorff refer to; None: they refer
    to the union front. `presets` are published configurations, shown with the front, never ranked.
    `pairs` compares every strategy with every other, where there are held-out data. `failure` says
    why held-out data could not be evaluated. `notes` are printed with the figures.
    """

    format: Literal["paretoprune-results/1"] = "paretoprune-results/1"
    created: str
    versions: dict[str, str]
    settings: dict[str, Any]
    problem: dict[str, Any]
    heldout_problem: dict[str, Any] | None
    objectives: list[ObjectiveInfo]
    standings: list[Standing]
    studies: list[StudyRow]
    front: list[FrontPoint]
    interrupted: bool = False
    failure: str | None = None
    reference: ReferenceFront | None = None
    presets: list[PresetPoint] = Field(default=[])
    pairs: list[PairRow] = Field(default=[])
    notes: list[str] = Field(default=[])
    sensitivity: list[Sensitivity] = Field(default=[])

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Check the assumptions of tables and figures; raises `ValueError`."""
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) < len(names):
            raise ValueError("a comparison has one or more objectives, each with its own name")
        measured = [(p.search, p.heldout) for p in self.front]
        measured += [(p.search, p.heldout) for p in self.presets]
        for values in (one for both in measured for one in both if one is not None):
            missing = [name for name in names if name not in values]
            if missing:
                raise ValueError(f"a configuration has no value of {plain(missing[0])}")
        for point in self.front:
            if point.keep is None or point.policy:
                continue
            try:
                schedule_file(self, point)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(
                    f"no schedule of {point.label}: {where}: {first['msg']}"
                ) from error
        for study in self.studies:
            if any(len(point) != len(names) for point in study.points):
                raise ValueError(f"points of studies have {len(names)} values, one per objective")
        return self

    @property
    def best_label(self) -> str | None:
        """Label of the first-ranked strategy."""
        return self.standings[0].label if self.standings else None

    def front_of_best(self) -> list[FrontPoint]:
        """The first-ranked strategy's front, cheapest point first, of the seed that did best.

        Best on the search split: held-out data choose nothing.
        """
        rows = [s for s in self.studies if s.label == self.best_label]
        if not rows:
            return []
        best = max(rows, key=lambda s: s.hypervolume)
        cost = next((o.name for o in self.objectives if o.direction == "min"), None)
        found = [p for p in self.front if p.label == best.label and p.seed == best.seed]
        return sorted(found, key=lambda p: p.search[cost] if cost else 0.0)


def write_results(folder: Path, summary: Summary) -> None:
    """Write `comparison.json`, `front.csv` and one schedule file per union-front point."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_stored(folder / SUMMARY_NAME, summary)
        write_whole(folder / FRONT_NAME, front_csv(summary).encode("utf-8"))
        _write_schedules(folder / SCHEDULES, summary)
    except OSError as error:
        raise BrokenFileError(f"cannot write results to {folder}: {error.strerror}") from error


def read_summary(folder: Path) -> Summary:
    """Read `comparison.json` of a results folder; raises `BrokenFileError` naming the fault."""
    file = folder / SUMMARY_NAME
    if not file.exists():
        raise BrokenFileError(f"{folder} is not a results folder: it has no {file.name}")
    return read_stored(file, "results file", Summary)


def front_csv(summary: Summary) -> str:
    """The content of `front.csv`: a line per point of every study's front."""
    names = [o.name for o in summary.objectives]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(
        ["label", "seed", "trial", "space", "on_union"]
        + [f"search_{n}" for n in names]
        + [f"search_{n}_error" for n in names]
        + [f"heldout_{n}" for n in names]
        + [f"heldout_{n}_error" for n in names]
        + ["separated", "keep", "knobs", "pruner", "pruner_settings", "policy"]
    )
    for p in summary.front:
        held = p.heldout or {}
        writer.writerow(
            [p.label, p.seed, p.trial, p.space, int(p.on_union)]
            + [repr(p.search[n]) for n in names]
            + [repr(p.search_error.get(n, 0.0)) for n in names]
            + [repr(held[n]) if n in held else "" for n in names]
            + [repr(p.heldout_error[n]) if n in p.heldout_error else "" for n in names]
            + ["" if p.separated is None else int(p.separated)]
            + [" ".join(repr(k) for k in p.keep or []), json.dumps(p.knobs)]
            + [p.pruner or "", json.dumps(p.pruner_settings), p.policy or ""]
        )
    return stream.getvalue()


def _write_schedules(folder: Path, summary: Summary) -> None:
    points = [p for p in summary.front if p.on_union and p.keep is not None and not p.policy]
    if not points:
        return
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.json"):
        stale.unlink()
    points.sort(key=_compute)
    for number, p in enumerate(points):
        write_schedule(
            folder / f"{number:02d}-u{100 * _compute(p):.0f}.json", schedule_file(summary, p)
        )


def schedule_file(summary: Summary, point: FrontPoint) -> ScheduleFile:
    """A front point with a keep schedule as a schedule file; its score is the held-out one."""
    held = point.heldout or point.search
    return ScheduleFile(
        pruner=point.pruner or str(summary.problem.get("pruner", "fastv")),
        pruner_settings=point.pruner_settings or None,
        keep=point.keep or [],
        per_picture=bool(summary.problem.get("per_picture", False)),
        model=summary.problem.get("model"),
        found_by=f"{point.label} seed {point.seed}",
        score=held.get("score"),
        score_error=(point.heldout_error if point.heldout else point.search_error).get("score"),
        compute=held.get("compute"),
    )


def _compute(point: FrontPoint) -> float:
    """Relative compute on the search split, whether it was an objective or not."""
    return point.search.get("compute", point.metrics.get("compute", 0.0))
