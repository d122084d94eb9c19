"""Writes the table of explanation/joint.md, from the comparisons that the page names.

python docs/make_joint.py joint-*    # reads their results folders into docs/images/joint.json
python docs/make_joint.py            # writes the table again
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from paretoprune.comparison.results import Standing, Summary, read_summary

IMAGES = Path(__file__).resolve().parent / "images"
SPACES = ("joint", "tokens", "weights", "cache")
WITHIN = (0.3, 0.4, 0.5, 0.7)
"""Shares of the dense memory at which the best configurations are compared."""


def read_figures(folders: list[Path]) -> dict[str, Any]:
    """The figures of results folders, one of each model."""
    summaries = [read_summary(folder) for folder in folders]
    first = summaries[0]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    device = f"{platform.machine()} CPU, {threads} thread{'' if threads == '1' else 's'}"
    return {
        "machine": first.versions | {"device": device},
        "budget": first.settings["budget"],
        "settings": {
            "seeds": len(first.settings["seeds"]),
            "search_size": first.problem["samples"],
            "heldout_size": (first.heldout_problem or {})["samples"],
        },
        "models": {summary.problem["model"]: figures_of(summary) for summary in summaries},
    }


def figures_of(summary: Summary) -> dict[str, Any]:
    """Per space: held-out area with its interval, hypervolume, held-out score within bounds.

    A bound is a share of the dense memory; the configuration is the one that the search split
    picks within it, of the seed with the best hypervolume.
    """
    memory = next(o for o in summary.objectives if o.name == "memory_bytes")
    found: dict[str, Any] = {"dense_bytes": memory.reference, "least_bytes": memory.best}
    for row in summary.standings:
        found[row.space] = {
            "heldout_area": row.heldout_area,
            "interval": [row.area_low, row.area_high],
            "hypervolume": row.hypervolume,
            "evaluations": row.evaluations,
            "separated_from_best": row.separated,
            "score_within": {
                f"{share:g}": _best_within(summary, row, share * memory.reference)
                for share in WITHIN
            },
        }
    return found


def _best_within(summary: Summary, row: Standing, most: float) -> float | None:
    """Held-out score of what the search split picks within `most` bytes; None for nothing."""
    studies = [s for s in summary.studies if s.label == row.label]
    best = max(studies, key=lambda s: s.hypervolume)
    points = [
        p
        for p in summary.front
        if (p.label, p.seed) == (best.label, best.seed) and p.search["memory_bytes"] <= most
    ]
    if not points:
        return None
    pick = max(points, key=lambda p: (p.search["score"], -p.search["memory_bytes"]))
    return None if pick.heldout is None else pick.heldout["score"]


def table() -> str:
    """The figures of every model and space, and two sentences that say what they mean."""
    found = json.loads((IMAGES / "joint.json").read_text(encoding="utf-8"))
    rows = [
        "| model, dense in 16 bits | searched | held-out area [95 %] | hypervolume | evaluations | "
        "q within 30 % | 40 % | 50 % | 70 % |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    gains = {}
    for model, one in found["models"].items():
        for space in SPACES:
            each = one[space]
            low, high = each["interval"]
            scores = ["-" if q is None else f"{q:.3f}" for q in each["score_within"].values()]
            first = f"{model}, {one['dense_bytes'] / 1e6:.2f} MB" if space == "joint" else ""
            rows.append(
                f"| {first} | {space} | {each['heldout_area']:.3f} [{low:.3f}, {high:.3f}] | "
                f"{each['hypervolume']:.3f} | {each['evaluations']:.1f} | {' | '.join(scores)} |"
            )
        best = max(SPACES[1:], key=lambda space: one[space]["heldout_area"])
        gains[model] = (best, one["joint"]["heldout_area"] - one[best]["heldout_area"])
        clear = all(one[space]["separated_from_best"] for space in SPACES[1:])
        assert clear, f"{model}: the joint search is not separated from all others"
    least, most = min(g for _, g in gains.values()), max(g for _, g in gains.values())
    half = [
        f"{one['joint']['score_within']['0.5']:.2f} ({model})"
        for model, one in found["models"].items()
    ]
    reached = [
        space
        for one in found["models"].values()
        for space in SPACES[1:]
        if one[space]["score_within"]["0.5"] is not None
    ]
    assert not reached, f"half the memory is reached by {reached}: say so"
    rows += [
        "",
        f"On every model the joint search has the largest held-out area, {least:.2f} to {most:.2f} "
        "above the best of the separate ones, and is separated from each of them after correction "
        f"for all pairs. Within half of the dense memory it keeps a relative score of "
        f"{', '.join(half)}, where none of the separate searches has a configuration at all.",
        "",
        f"q: held-out score of the configuration that the search split picks within that share "
        f"of the dense memory, of the seed with the best hypervolume; 1 is the dense model, 0 the "
        f"text-only one, - means that the front has nothing so small. NSGA-II (of the cache, all "
        f"four settings), {found['settings']['seeds']} seeds, "
        f"{found['budget']:g} dense passes each; {found['settings']['search_size']} samples of the "
        f"search split and {found['settings']['heldout_size']} held out; "
        f"{found['machine']['device']}, torch {found['machine']['torch']}, transformers "
        f"{found['machine']['transformers']}.",
        "",
    ]
    return "\n".join(rows)


def main() -> None:
    """Read the results folders, if any are named, and write the table."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    if folders:
        content = json.dumps(read_figures(folders), indent=1) + "\n"
        (IMAGES / "joint.json").write_text(content, encoding="utf-8")
    (IMAGES / "joint-table.txt").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
