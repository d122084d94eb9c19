"""Says whether a study that was run again found the same fronts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from paretoprune.comparison.provenance import read_provenance
from paretoprune.comparison.results import FrontPoint, Summary

MEASURED = ("latency_ms", "peak_memory_bytes")
"""Costs that come from measurements: no two runs find exactly the same."""


def compared(
    old: Path, new: Path, before: Summary | None, after: Summary | None
) -> tuple[bool, list[str]]:
    """Whether two comparisons found the same fronts, and lines that say so or name what differs.

    `old` and `new` are their folders. Where fronts differ, changed versions, hardware and data
    follow.
    """
    if before is None or after is None:
        return False, [f"{old}: finished in the {'second' if before is None else 'first'} run only"]
    different = list(differences(before, after))
    if not different:
        return True, [f"{old}: the fronts are equal ({len(before.front)} points)"]
    origins = read_provenance(old), read_provenance(new)
    changed = list(origins[0].changes(origins[1])) if origins[0] and origins[1] else []
    return False, [f"{old}: the fronts differ", *(f"  {line}" for line in [*different, *changed])]


def differences(before: Summary, after: Summary) -> Iterator[str]:
    """One sentence per study whose front is not the same: points, objectives, held-out objectives.

    Numbers are compared exactly: the same seed on the same machine gives the same front.
    """
    if before.interrupted or after.interrupted:
        yield f"the {'first' if before.interrupted else 'second'} run was interrupted"
    fronts = _fronts(before), _fronts(after)
    for study in sorted(fronts[0].keys() | fronts[1].keys()):
        old, new = (front.get(study) for front in fronts)
        label, seed = study
        if old is None or new is None:
            yield f"{label} seed {seed} is in the {'second' if old is None else 'first'} run only"
        elif old != new:
            yield (
                f"{label} seed {seed}: {len(old)} front points before, {len(new)} now, "
                f"{len(old & new)} of them the same"
            )
    measured = sorted({o.name for o in before.objectives} & set(MEASURED))
    if measured and fronts[0] != fronts[1]:
        yield f"{', '.join(measured)} is measured, so no two runs are exactly the same"


def _fronts(summary: Summary) -> dict[tuple[str, int], set[str]]:
    found: dict[tuple[str, int], set[str]] = {(s.label, s.seed): set() for s in summary.studies}
    for point in summary.front:
        found.setdefault((point.label, point.seed), set()).add(_identity(point))
    return found


def _identity(point: FrontPoint) -> str:
    parts = [point.space, point.knobs, point.keep, point.search, point.heldout]
    return json.dumps(parts, sort_keys=True)
