"""Answers claims one by one; what is there already is not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paretoprune.errors import InvalidValueError
from paretoprune.experiments.bench import machine
from paretoprune.experiments.reproduce.cached_runs import CachedRuns, Scale
from paretoprune.experiments.reproduce.finding import Finding, read_finding, write_finding
from paretoprune.files import write_json, write_whole

SUMMARY_NAME = "README.md"
MACHINE_NAME = "machine.json"


def parse_claims(only: str | None, shard: str | None) -> list[int]:
    """Numbers of the claims to answer: `1,4`, and of those the i-th of n shares, `2/3`.

    Raises `InvalidValueError` naming what is wrong.
    """
    from paretoprune.experiments.reproduce.claims import CLAIMS

    chosen = list(CLAIMS)
    if only is not None:
        try:
            chosen = sorted({int(part) for part in only.split(",")})
        except ValueError:
            chosen = [0]
        if not set(chosen) <= set(CLAIMS):
            raise InvalidValueError(
                f"--only takes numbers from 1 to {max(CLAIMS)} with commas, got {only!r}"
            )
    if shard is not None:
        part, _, of = shard.partition("/")
        if not (part.isdigit() and of.isdigit() and 1 <= int(part) <= int(of)):
            raise InvalidValueError(f"--shard takes a share such as 1/3, got {shard!r}")
        chosen = chosen[int(part) - 1 :: int(of)]
    return chosen


def reproduce(
    folder: Path, scale: Scale, claims: Sequence[int],
    observe: Callable[[str], None] | None = None,
) -> list[Finding]:  # fmt: skip
    """Answer the claims in order, each into a folder of its own, and list all that are answered.

    Raises as `CachedRuns` does.
    """
    from paretoprune.experiments.reproduce.claims import CLAIMS

    runs = CachedRuns(folder, scale, observe)
    write_json(folder / MACHINE_NAME, machine("cpu"))
    for number in claims:
        name, answer = CLAIMS[number]
        place = folder / f"{number}-{name}"
        if read_finding(place) is None:
            write_finding(place, *answer(runs))
    found = [
        finding
        for number, (name, _) in CLAIMS.items()
        if (finding := read_finding(folder / f"{number}-{name}")) is not None
    ]
    write_whole(folder / SUMMARY_NAME, summary(found, scale).encode("utf-8"))
    return found


def summary(findings: Sequence[Finding], scale: Scale, folder: str = "") -> str:
    """All findings as one page: verdicts first, then each with its figure and table.

    `folder` is what leads to the claims' folders from where the page lies, such as `results/`.
    """
    models = ", ".join(scale.models)
    lines = [
        "# The claims of VisPCO, with our own numbers",
        "These models have about a million parameters each and answer drawn questions about drawn "
        "pictures: what holds here is a reason to look at a 7B model, and no proof for one.",
        f"Scale `{scale.name}`: {models}; {len(scale.seeds)} seeds, {scale.search_size} search and "
        f"{scale.heldout_size} held-out samples, {scale.budget:g} dense passes per search, "
        f"reference {scale.grid}. Intervals are 95 %, over seeds and held-out samples.",
        *(
            ["**The quick scale shows that the command works: its verdicts are no evidence.**"]
            if scale.name == "quick"
            else []
        ),
        "| | claim | verdict |\n|---:|---|---|\n"
        + "\n".join(f"| {f.number} | {f.claim} | **{f.verdict}** |" for f in findings),
    ]
    for f in findings:
        lines += [
            f"## {f.number}. {f.title}",
            f.sentence,
            f"![{f.title}]({folder}{f.number}-{f.name}/figure.svg)",
            f.markdown().rstrip(),
        ]
    return "\n\n".join(lines) + "\n"
