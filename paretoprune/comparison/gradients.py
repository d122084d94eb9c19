"""Records of a comparison's gradient searches, as typed data: `gradients.json`.

Per study: how far each configuration of the best front is from what the search believed (the
relaxation gap) and from an exhaustive grid, the curves of the search, and warnings with causes.
Tables, figures and reports are drawn from this alone; nothing here needs a model or torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from paretoprune.errors import UnsupportedError
from paretoprune.files import StoredModel, read_stored, write_stored

GRADIENTS_NAME = "gradients.json"


class SplitFigures(StoredModel):
    """Score, compute and both objectives of one configuration on the search split.

    Relative score q, relative compute u, KL to dense in nats, and the mean of 1 - exp(-KL).
    """

    score: float
    compute: float
    kl: float
    lost: float


class GridPoint(StoredModel):
    """The nearest point of an exhaustive grid's front, and how far it is.

    `distance` is Euclidean in (score, compute); `ahead` is the score of the best grid point that
    costs no more, minus the score of the point that is judged (None: no grid point is as cheap).
    """

    score: float
    compute: float
    distance: float
    ahead: float | None


class GapPoint(StoredModel):
    """One returned configuration: relaxed (`soft`, nothing rounded) and really pruned (`hard`).

    `relaxed_keep` and `keep` are its keep ratios before and after rounding; `trial` is the number
    of its evaluation in the study.
    """

    trial: int
    relaxed_keep: list[float]
    keep: list[float]
    soft: SplitFigures
    hard: SplitFigures
    grid: GridPoint | None = None

    @property
    def score_gap(self) -> float:
        """Hard minus soft score: below 0, the relaxation promised too much."""
        return self.hard.score - self.soft.score

    @property
    def compute_gap(self) -> float:
        """Hard minus soft compute: the effect of rounding, and the cost of ranking."""
        return self.hard.compute - self.soft.compute


class RoundRow(StoredModel):
    """One outer iteration: see `search.trace.Round`."""

    spent: float
    divergence: float
    constraint: list[float]
    kept: list[float]
    multiplier: list[float]


class GradientStudy(StoredModel):
    """One study of a gradient strategy: its curves, its relaxation gap and its warnings."""

    label: str
    seed: int
    loss: str
    budgets: list[float]
    rounds: list[RoundRow]
    points: list[GapPoint] = Field(default=[])
    warnings: list[str] = Field(default=[])


class Gradients(StoredModel):
    """All gradient searches of a results folder; `reference` names the grid of `GapPoint.grid`.

    `interrupted` says that relaxation gaps were still to be measured.
    """

    format: Literal["paretoprune-gradients/1"] = "paretoprune-gradients/1"
    reference: str | None = None
    interrupted: bool = False
    studies: list[GradientStudy]


def write_gradients(folder: Path, found: Gradients) -> None:
    """Write `gradients.json` into a results folder, whole or not at all."""
    write_stored(folder / GRADIENTS_NAME, found)


def read_gradients(folder: Path) -> Gradients | None:
    """Read `gradients.json` of a results folder; None without one.

    Raises `BrokenFileError` naming the fault.
    """
    file = folder / GRADIENTS_NAME
    return read_stored(file, "results file", Gradients) if file.exists() else None


def read_gaps(folder: Path) -> Gradients:
    """Read `gradients.json`; raises `UnsupportedError` where no relaxation gap was measured."""
    gradients = read_gradients(folder)
    if gradients is None or not any(study.points for study in gradients.studies):
        raise UnsupportedError(
            f"{folder} holds no gradient search with a relaxation gap: it was written without "
            "one, or interrupted; search with a strategy such as 'gradient'"
        )
    return gradients
