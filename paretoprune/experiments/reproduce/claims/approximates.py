"""Claims 1 to 3: the learned front approximates the exhaustive grid, over pruners and families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRun, CachedRuns
from paretoprune.experiments.reproduce.finding import Cell, Finding, Verdict
from paretoprune.experiments.reproduce.similarity import (
    COLUMNS,
    MARGIN,
    draw_fronts,
    in_text,
    overall,
    panels,
    similarity,
    stands_in,
)
from paretoprune.registry import pruners

LEARNED = "gradient"
PUBLISHED = "vispco"


def against_the_grid(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Claim 1, on the first model and pruner: ours, and VisPCO as published."""
    grid = runs.grid()
    learned = {name: runs.searches(name) for name in (LEARNED, PUBLISHED)}
    rows, verdicts, sentences = _rows({name: (found, grid) for name, found in learned.items()})
    figure, (panel,) = panels(1)
    draw_fronts(panel, {runs.scale.grid: [grid], **learned}, runs.scale.models[0])
    finding = Finding(
        number=1,
        name="grid",
        title="The learned front against the exhaustive grid",
        claim="The learned front approximates the front of an exhaustive grid.",
        verdict=verdicts[LEARNED],
        sentence=f"The claim {verdicts[LEARNED]} for our gradient search ({sentences[LEARNED]}) "
        f"and {verdicts[PUBLISHED]} for VisPCO as published ({sentences[PUBLISHED]}): held-out "
        f"area minus the grid's, {MARGIN:g} allowed.",
        columns=["strategy", *COLUMNS],
        rows=rows,
    )
    return finding, figure


def across_pruners(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Claim 2: the same with every pruner that can be relaxed."""
    names = [name for name in runs.scale.pruners if _is_relaxable(name)]
    cases = {n: (runs.searches(LEARNED, pruner=n), runs.grid(pruner=n)) for n in names}
    return _across(
        2, "pruners", "Across pruners", "pruner",
        "The learned front approximates the grid's with other pruning operators too.", cases,
    )  # fmt: skip


def across_families(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Claim 3: the same on every model."""
    cases = {
        name: (runs.searches(LEARNED, model=name), runs.grid(model=name))
        for name in runs.scale.models
    }
    return _across(
        3, "families", "Across model families", "model",
        "The learned front approximates the grid's on other model families too.", cases,
    )  # fmt: skip


def _across(
    number: int, name: str, title: str, of: str, claim: str,
    cases: Mapping[str, tuple[list[CachedRun], CachedRun]],
) -> tuple[Finding, Figure]:  # fmt: skip
    rows, verdicts, sentences = _rows(cases)
    figure, drawn = panels(len(cases))
    for panel, (case, (learned, grid)) in zip(drawn, cases.items(), strict=True):
        draw_fronts(panel, {"grid": [grid], LEARNED: learned}, case)
    verdict = overall(list(verdicts.values()))
    each = "; ".join(f"{case} {sentences[case]}" for case in cases)
    finding = Finding(
        number=number, name=name, title=title, claim=claim, verdict=verdict,
        sentence=f"The claim {verdict}: held-out area minus the grid's, {MARGIN:g} allowed: "
        f"{each}.",
        columns=[of, *COLUMNS], rows=rows,
    )  # fmt: skip
    return finding, figure


def _rows(
    cases: Mapping[str, tuple[Sequence[CachedRun], CachedRun]],
) -> tuple[list[list[Cell]], dict[str, Verdict], dict[str, str]]:
    rows: list[list[Cell]] = []
    verdicts: dict[str, Verdict] = {}
    sentences: dict[str, str] = {}
    for name, (learned, grid) in cases.items():
        cells, interval = similarity(learned, grid)
        rows.append([name, *cells])
        verdicts[name] = stands_in(interval)
        sentences[name] = in_text(interval)
    return rows, verdicts, sentences


def _is_relaxable(name: str) -> bool:
    return bool(pruners.load(name).relaxable)
