"""Rounds of a gradient search, and warnings with their causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

MAX_EXCESS = 0.02
"""Relative compute above a budget, in the last rounds, beyond which the budget is missed."""
LAST_ROUNDS = 3
"""Rounds at the end that a warning looks at."""
COLLAPSED_KEEP = 0.01
"""Distance of a mean keep ratio from 0 or 1 within which masks count as collapsed."""


@dataclass(frozen=True)
class Round:
    """One outer iteration, at search cost `spent` in dense-pass equivalents.

    `divergence` is the mean KL to dense in nats over the samples of its steps; per budget:
    `constraint`, c = u - b in relative compute (positive where the budget is exceeded), and `kept`,
    the mean keep ratio of the layers that the pruner can act at. `multiplier` is one per budget, or
    a single one.
    """

    spent: float
    divergence: float
    constraint: tuple[float, ...]
    kept: tuple[float, ...]
    multiplier: tuple[float, ...]


@dataclass(frozen=True)
class SearchTrace:
    """All rounds of a gradient search.

    `budgets` are those that `Round.constraint` and `kept` are given for, in relative compute;
    `reachable` is the compute range of the searched kernel; `clamp` is the largest multiplier
    (None: there is none). `loss` names the loss per sample: `kl` or `retention`.
    """

    loss: str
    budgets: tuple[float, ...]
    reachable: tuple[float, float]
    clamp: float | None = None
    rounds: tuple[Round, ...] = field(default=())


@runtime_checkable
class Traced(Protocol):
    """A strategy that records its rounds for reports."""

    def trace(self) -> SearchTrace:
        """All rounds so far."""


def causes(trace: SearchTrace) -> list[str]:
    """Warnings with their causes, one sentence each."""
    return [
        *_unreachable(trace),
        *_missed(trace),
        *_collapsed(trace),
    ]


def _unreachable(trace: SearchTrace) -> Iterator[str]:
    low, high = trace.reachable
    below = [b for b in trace.budgets if b < low - 1e-9]
    if below:
        yield (
            f"{_budgets(below)} cannot be reached: no schedule of the searched kernel costs less "
            f"than {low:.2f} of dense compute (layers before the pruner's first one stay dense); "
            "search another kernel, such as 'free', or a pruner that acts earlier"
        )
    above = [b for b in trace.budgets if b > high + 1e-9]
    if above:
        yield (
            f"{_budgets(above)} cannot be reached: no schedule of the searched kernel costs more "
            f"than {high:.2f} of dense compute"
        )


def _missed(trace: SearchTrace) -> Iterator[str]:
    """Reachable budgets that are exceeded at the end, and multipliers at their clamp."""
    last = trace.rounds[-LAST_ROUNDS:]
    if not last:
        return
    missed = [
        number
        for number, budget in enumerate(trace.budgets)
        if budget >= trace.reachable[0] - 1e-9
        and min(r.constraint[number] for r in last) > MAX_EXCESS
    ]
    single = len(last[-1].multiplier) == 1
    clamped = [
        number
        for number in range(len(last[-1].multiplier))
        if trace.clamp is not None and all(r.multiplier[number] >= trace.clamp for r in last)
    ]
    if clamped:
        where = "the multiplier" if single else f"the multiplier of {_named(trace, clamped)}"
        yield (
            f"{where} sits at its clamp, {trace.clamp:g}: the constraint pushes as hard as it may "
            "and is not met; quality gains more per unit of compute there than the clamp allows "
            "(raise max_multiplier), or the schedule cannot become cheaper"
        )
    soft = [number for number in missed if single or number not in clamped]
    if soft:
        excess = max(last[-1].constraint[number] for number in soft)
        yield (
            f"the steps for {_named(trace, soft)} ended up to {excess:.2f} above: the multiplier "
            "was still rising; give the search more budget, larger steps (learning_rate, "
            "max_step) or a larger sigma"
        )


def _collapsed(trace: SearchTrace) -> Iterator[str]:
    """Masks that keep everything or nothing where the budget asks for something in between."""
    if not trace.rounds:
        return
    kept, (low, high) = trace.rounds[-1].kept, trace.reachable
    margin = 0.1 * (high - low)
    inside = [n for n, b in enumerate(trace.budgets) if low + margin < b < high - margin]
    full = [n for n in inside if kept[n] > 1 - COLLAPSED_KEEP]
    if full:
        yield (
            f"masks of {_named(trace, full)} keep every token: the constraint has no effect there; "
            "its multiplier or its gradient is too small (raise sigma, or learning_rate)"
        )
    empty = [n for n in inside if kept[n] < COLLAPSED_KEEP]
    if empty:
        yield (
            f"masks of {_named(trace, empty)} drop every token although the budget allows some: "
            "quality has no gradient there, or the constraint overshot (lower sigma or "
            "learning_rate, or raise tau_start so that more tokens are felt)"
        )


def _named(trace: SearchTrace, numbers: list[int]) -> str:
    return _budgets([trace.budgets[n] for n in numbers])


def _budgets(budgets: list[float]) -> str:
    listed = ", ".join(f"{b:.2f}" for b in budgets)
    return f"budget {listed}" if len(budgets) == 1 else f"budgets {listed}"
