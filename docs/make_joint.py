"""Writes the table of explanation/joint.md, from what a run of the benchmark found.

paretoprune bench joint --model all --search-size 64 --heldout-size 128 --out docs/images/joint.json
python docs/make_joint.py
"""

from __future__ import annotations

import json
from pathlib import Path

IMAGES = Path(__file__).resolve().parent / "images"
SPACES = ("joint", "tokens", "weights", "cache")


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
        f"blind one, - means that the front has nothing so small. NSGA-II (of the cache, all four "
        f"settings), {found['settings']['seeds']} seeds, "
        f"{found['budget']:g} dense passes each; {found['settings']['search_size']} samples of the "
        f"search split and {found['settings']['heldout_size']} held out; "
        f"{found['machine']['device']}, torch {found['machine']['torch']}, transformers "
        f"{found['machine']['transformers']}.",
        "",
    ]
    return "\n".join(rows)


def main() -> None:
    """Read the JSON file, write the table."""
    (IMAGES / "joint-table.txt").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
