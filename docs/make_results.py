"""Writes docs/results.md from what `paretoprune reproduce` and `paretoprune bench` wrote.

    python docs/make_results.py                            # the page, from docs/results/
    python docs/make_results.py --reproduce FOLDER         # after taking a reproduction in
    python docs/make_results.py --bench operators=FILE     # after taking a benchmark in
    python docs/make_results.py --compare choosers=FOLDER  # after taking a comparison in
    python docs/make_results.py --run                      # run all of it first; hours, goes on
                                                           # where it stopped

No figure and no verdict on the page is typed by hand. What the page is made of lies in
docs/results/: of a reproduction its scale, versions, and per claim finding.json, figure.svg and
table.csv; of a benchmark the JSON file that its option `--out` names; of a comparison its ranking.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paretoprune.comparison.results import read_summary
from paretoprune.experiments.reproduce.cached_runs import SCALE_NAME, Scale
from paretoprune.experiments.reproduce.claims import CLAIMS
from paretoprune.experiments.reproduce.finding import FINDING_NAME, Finding, read_finding
from paretoprune.experiments.reproduce.run import MACHINE_NAME, summary

DOCS = Path(__file__).resolve().parent
STORED = DOCS / "results"
PAGE = DOCS / "results.md"
KEPT = (FINDING_NAME, "figure.svg", "table.csv")
FOLDER = "paretoprune-reproduce"
"""Where `--run` reproduces, in the current folder."""

HALF = 0.5
DIGITS = 4
"""Digits behind the point that stored figures keep."""
Rows = Sequence[Sequence[str]]


def table(heads: Sequence[str], rows: Rows) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def evaluation(found: dict[str, Any]) -> str:
    """Seconds per way of evaluating one population."""
    seconds = found["seconds"]
    rows = [
        [name, f"{value:.2f}", "-" if name == "dense" else f"{value / seconds['shared']:.2f}x"]
        for name, value in seconds.items()
    ]
    about = (
        f"{found['candidates']} two-step schedules on {found['samples']} samples of "
        f"{found['model']}, medians of {found['repeats']}. FLOP bound of sharing "
        f"{found['flop_bound']:.2f}x; {found['share_of_bound']:.0%} of the distinct-segment bound "
        "is reached."
    )
    return f"{about}\n\n{table(['way', 'seconds', 'against shared'], rows)}"


def prefill(found: dict[str, Any]) -> str:
    """Time of pruned prefills over their FLOPs."""
    spec = found["spec"]
    rows = [
        [f["shape"], str(f["batch"]), f"{f['flop_ratio']:.0%}", f"{f['time_ratio']:.0%}",
         f"{f['time_ratio'] / f['flop_ratio']:.2f}",
         f"{f['products_ratio'] / f['flop_ratio']:.2f}",
         f"{f['median_ms']:.1f} ± {f['spread_ms']:.1f}"]
        for f in found["figures"]
    ]  # fmt: skip
    about = (
        f"A decoder of width {spec['hidden']} with {spec['layers']} layers and random weights; "
        "FLOPs and time in parts of the dense prefill's. *Products alone*: time over FLOPs where "
        "nothing but the layers' matrix products is run: how well the processor multiplies smaller "
        "matrices."
    )
    heads = ["schedule", "batch", "FLOPs", "time", "time over FLOPs", "products alone", "ms"]
    return f"{about}\n\n{table(heads, rows)}"


def operators(found: dict[str, Any]) -> str:
    """Every pruner at equal compute, dropping as early as it can, on every model."""
    models = found["models"]
    targets = sorted({f["target"] for one in models.values() for f in one["figures"]})
    cells: dict[str, dict[tuple[str, float], str]] = {}
    for model, one in models.items():
        first: dict[str, int] = {}
        for f in one["figures"]:
            first[f["pruner"]] = min(f["layer"], first.get(f["pruner"], f["layer"]))
        for f in one["figures"]:
            withdraws = not f["keep"]  # before whichever layer meets the target
            if f["reached"] and (withdraws or f["layer"] == first[f["pruner"]]):
                told = f"{f['score']:.2f} ± {f['standard_error']:.2f}"
                cells.setdefault(f["pruner"], {})[model, f["target"]] = told
    columns = [(model, target) for target in targets for model in models]
    rows = [
        [f"`{pruner}`", *(of.get(column, "-") for column in columns)]
        for pruner, of in sorted(cells.items())
    ]
    heads = ["pruner", *(f"{model}, {target:.0%}" for model, target in columns)]
    about = (
        "Relative score ± standard error, held out, at a share of dense compute; each drops once, "
        "as early as it can; `vtw` withdraws all tokens, before the layer that meets the share. A "
        "dash: out of its reach, or the model has not what it needs."
    )
    parts = [about, table(heads, rows)]
    for model, one in models.items():
        parts += [
            f"Exact match per question family at half of the compute, {model}:",
            families(one),
        ]
    return "\n\n".join(parts)


def families(one: dict[str, Any]) -> str:
    """Exact match of a model's question families under every pruner's earliest drop to a half."""

    def told(of: dict[str, Any]) -> list[str]:
        return [f"{mean:.2f} ± {error:.2f}" for mean, error in of.values()]

    rows = [["dense", *told(one["dense"])]]
    seen = set()
    for f in sorted(one["figures"], key=lambda f: (f["pruner"], f["layer"])):
        if f["target"] == HALF and f["reached"] and f["pruner"] not in seen:
            seen.add(f["pruner"])
            rows.append([f"`{f['pruner']}`", *told(f["families"])])
    return table(["pruner", *one["dense"]], rows)


def search_cost(found: dict[str, Any]) -> str:
    """What every strategy pays for a front as good as the exhaustive grid's."""
    rows = [
        [
            f"`{r['strategy']}`", r["model"], str(r["split"]), str(r["seeds"]), f"{r['longest']:g}",
            f"{r['area_ratio']:.3f} [{r['ratio_low']:.3f}, {r['ratio_high']:.3f}]",
            f"{r['hypervolume_ratio']:.3f}", f"{r['reached']} of {r['seeds']}",
            "not reached" if r["cost"] is None else f"{r['cost']:.0f}",
        ]
        for r in sorted(found["rows"], key=lambda r: (r["model"], r["split"], -r["area_ratio"]))
    ]  # fmt: skip
    heads = [
        "strategy", "model", "search samples", "seeds", "budget", "held-out area over the grid's",
        "hypervolume over the grid's", "reached 99 %", "at a cost of",
    ]  # fmt: skip
    about = (
        f"{found['runs']} of {found['of']} runs are done; the grid is `{found['plan']['grid']}`; "
        "costs in dense passes."
    )
    return f"{about}\n\n{table(heads, rows)}"


def gradient_step(found: dict[str, Any]) -> str:
    """Memory and time of gradient steps beside what was planned."""
    spec = found["spec"]
    rows = [
        ["rerun" if f["checkpoint"] else "kept", str(f["micro_batch"]),
         f"{f['measured_bytes'] / 2**20:.0f}", f"{f['planned_bytes'] / 2**20:.0f}",
         f"{f['measured_bytes'] / f['planned_bytes']:.2f}",
         f"{f['measured_seconds']:.2f}", f"{f['planned_seconds']:.2f}",
         f"{f['measured_seconds'] / f['planned_seconds']:.2f}"]
        for f in found["figures"]
    ]  # fmt: skip
    about = (
        f"Steps of {found['batch']} samples with 576 visual tokens through a decoder of width "
        f"{spec['hidden']} with {spec['layers']} layers in {found['dtype']}, random weights, whose "
        f"weights take {found['weights'] / 2**20:.0f} MiB. The peak is that of a step at the dense "
        "end of the budgets."
    )
    heads = ["layers", "samples at a time", "peak, MiB", "planned", "ratio", "seconds", "planned",
             "ratio"]  # fmt: skip
    return f"{about}\n\n{table(heads, rows)}"


UNTUNED = "paretoprune train mini-llava --seed 1 --steps 2000 --out untuned"
"""Makes the model that no setting was chosen with; run again, it goes on where it stopped."""
ON_UNTUNED = "compare-untuned"


class Benchmark(NamedTuple):
    """A section: its title, the benchmark with its options, what draws its figures.

    `before` is a command that makes what the benchmark needs.
    """

    title: str
    options: str
    draw: Callable[[dict[str, Any]], str]
    before: str = ""


BENCHMARKS: dict[str, Benchmark] = {
    "search-cost": Benchmark(
        "What a front costs",
        "search-cost --model all --search-size 200 -s gradient -s adaptive -s hybrid -s tpe -s gp "
        "-s pymoo-nsga2 -s halving",
        search_cost,
    ),
    "search-cost-500": Benchmark(
        "What a front costs: 500 search samples",
        "search-cost --model all --search-size 500 -s gradient -s adaptive -s tpe -s gp "
        "-s pymoo-nsga2 -s halving",
        search_cost,
    ),
    "search-cost-2000": Benchmark(
        "What a front costs: 2,000 search samples",
        "search-cost --model all --search-size 2000 --reference grid:medium "
        "-s gradient -s adaptive -s tpe -s gp -s pymoo-nsga2 -s halving",
        search_cost,
    ),
    "search-cost-untuned": Benchmark(
        "What a front costs: a model that nothing was tuned on",
        "search-cost --model untuned --search-size 200 -s gradient -s adaptive -s tpe "
        "-s pymoo-nsga2 -s halving",
        search_cost,
        before=UNTUNED,
    ),
    "operators": Benchmark("Operators at equal compute", "operators --model all", operators),
    "evaluation": Benchmark("How fast a population is evaluated", "evaluation", evaluation),
    "prefill": Benchmark("Pruned prefill: time against FLOPs", "prefill", prefill),
    "gradient-step": Benchmark(
        "Gradient steps: memory and time against the plan", "gradient-step", gradient_step
    ),
}
"""By name."""


def commands(name: str) -> list[str]:
    """The commands that measure a benchmark anew."""
    one = BENCHMARKS[name]
    measure = f"paretoprune bench {one.options} --out {name}.json"
    return [one.before, measure] if one.before else [measure]


CHOOSERS = (
    "random", "qmc", "tpe", "gp", "nsga2", "nsga3", "pymoo-nsga2", "pymoo-nsga3", "pymoo-moead",
    "pymoo-sms-emoa", "pymoo-rvea", "halving", "grid:space=single-step", "grid:space=multi-step",
    "g-search", "p-sigmoid", "fitprune", "vtw", "autoprune", "vispco", "gradient", "hybrid",
    "adaptive", "gradient:initial_share=1",
)  # fmt: skip
COMPARISONS: dict[str, tuple[str, str]] = {
    "mini-qwen2.5-vl": ("The default comparison on mini-Qwen2.5-VL", "--model mini-qwen2.5-vl"),
    "mini-internvl": ("The default comparison on mini-InternVL", "--model mini-internvl"),
    ON_UNTUNED: (
        "The default comparison on a model that nothing was tuned on",
        "--model untuned",
    ),
    "choosers": (
        "Choosers at equal cost",
        " ".join(["--seeds 3", *(f"-s {name}" for name in CHOOSERS)]),
    ),
}
"""By name: the section's title and the options of `paretoprune compare`."""
RANKING = "ranking.md"


def comparisons(stored: Path) -> list[str]:
    """A section per comparison: its command, ranking and versions."""
    parts = ["## Comparisons"]
    for name, (title, options) in COMPARISONS.items():
        shown = f"$ paretoprune compare {options} --out {name}"
        if name == ON_UNTUNED:
            shown = f"$ {UNTUNED}\n{shown}"
        parts += [f"### {title}", f"<!-- not run: it takes long -->\n```console\n{shown}\n```"]
        file = stored / "compare" / f"{name}.txt"
        parts.append(file.read_text(encoding="utf-8") if file.exists() else MISSING)
    return parts


def take_comparison(name: str, folder: Path, stored: Path) -> None:
    """Keep a comparison's ranking, and what it was made with."""
    if name not in COMPARISONS:
        raise SystemExit(f"no section shows {name!r}; known: {', '.join(COMPARISONS)}")
    ranking = (folder / RANKING).read_text(encoding="utf-8").rstrip()
    versions = read_summary(folder).versions
    told = ", ".join(f"{key} {value}" for key, value in versions.items())
    place = stored / "compare" / f"{name}.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{ranking}\n\nRun with {told}.\n", encoding="utf-8")


MISSING = "Not measured for this page yet."


def page(stored: Path) -> str:
    """The page, from a folder as docs/results/ is one."""
    parts = [claims(stored), *comparisons(stored), "## Benchmarks"]
    for name, one in BENCHMARKS.items():
        lines = "\n".join(f"$ {command}" for command in commands(name))
        shown = f"<!-- not run: it takes long -->\n```console\n{lines}\n```"
        file = stored / "bench" / f"{name}.json"
        parts += [f"### {one.title}", shown]
        if file.exists():
            found = json.loads(file.read_text(encoding="utf-8"))
            told = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
            parts += [one.draw(found), f"Measured with {told}."]
        else:
            parts.append(MISSING)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def claims(stored: Path) -> str:
    """Title, what the models can show, and every claim's verdict, figure and table."""
    head = "# Results"
    note = (
        "Nothing on this page is typed by hand: `docs/make_results.py` writes it from the files in "
        "`docs/results`. [Measurements](measurements.md) has further figures, with remarks."
    )
    scale = stored / SCALE_NAME
    if not scale.exists():
        return f"{head}\n\nThese models have about a million parameters each.\n\n{note}"
    ran = Scale.model_validate_json(scale.read_text(encoding="utf-8"))
    _, lead, rest = summary(findings(stored), ran, folder="results/").split("\n\n", 2)
    machine = stored / MACHINE_NAME
    told = ""
    if machine.exists():
        found = json.loads(machine.read_text(encoding="utf-8"))
        told = f"Run with {', '.join(f'{k} {v}' for k, v in found.items())}.\n\n"
    quick = " --quick" if ran.name == "quick" else ""
    shown = f"<!-- not run: it takes long -->\n```console\n$ paretoprune reproduce{quick}\n```"
    return f"{head}\n\n{lead}\n\n{note}\n\n{shown}\n\n{told}{rest}"


def findings(stored: Path) -> list[Finding]:
    """The findings in a folder, by number."""
    found = [read_finding(stored / f"{number}-{name}") for number, (name, _) in CLAIMS.items()]
    return [finding for finding in found if finding is not None]


def take_reproduction(folder: Path, stored: Path) -> None:
    """Copy what the page needs of a reproduction, in place of an earlier one."""
    present = [f"{n}-{name}" for n, (name, _) in CLAIMS.items()
               if (folder / f"{n}-{name}" / FINDING_NAME).exists()]  # fmt: skip
    if not present:
        raise SystemExit(f"{folder} holds no answered claim; run paretoprune reproduce first")
    for old in stored.glob("[0-9]*-*"):
        shutil.rmtree(old)
    stored.mkdir(parents=True, exist_ok=True)
    for name in (SCALE_NAME, MACHINE_NAME):
        if (folder / name).exists():
            shutil.copyfile(folder / name, stored / name)
    for place in present:
        (stored / place).mkdir()
        for name in KEPT:
            shutil.copyfile(folder / place / name, stored / place / name)


def take_benchmark(name: str, file: Path, stored: Path) -> None:
    """Keep a benchmark's JSON file; what cannot be drawn is refused."""
    if name not in BENCHMARKS:
        raise SystemExit(f"no section shows {name!r}; known: {', '.join(BENCHMARKS)}")
    text = file.read_text(encoding="utf-8")
    found = json.loads(text, parse_float=lambda number: round(float(number), DIGITS))
    BENCHMARKS[name].draw(found)
    place = stored / "bench" / f"{name}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def run_all(stored: Path) -> None:
    """Reproduce everything, and measure the benchmarks that are not stored yet."""
    subprocess.run(["paretoprune", "reproduce", "--out", FOLDER], check=True)
    take_reproduction(Path(FOLDER), stored)
    for name in BENCHMARKS:
        if not (stored / "bench" / f"{name}.json").exists():
            for command in commands(name):
                subprocess.run(command.split(), check=True)
            take_benchmark(name, Path(f"{name}.json"), stored)
    for name, (_, options) in COMPARISONS.items():
        if not (stored / "compare" / f"{name}.txt").exists():
            if name == ON_UNTUNED:
                subprocess.run(UNTUNED.split(), check=True)
            words = ["paretoprune", "compare", *options.split(), "--out", name]
            subprocess.run(words, check=True)
            take_comparison(name, Path(name), stored)


def main() -> None:
    """Take in what is named, and write the page."""
    parser = argparse.ArgumentParser(description="Write docs/results.md.")
    parser.add_argument("--reproduce", type=Path, help="folder of a reproduction")
    parser.add_argument("--bench", action="append", default=[], help="NAME=FILE, repeatable")
    parser.add_argument("--compare", action="append", default=[], help="NAME=FOLDER, repeatable")
    parser.add_argument("--run", action="store_true", help="run everything first")
    given = parser.parse_args()
    if given.run:
        run_all(STORED)
    if given.reproduce is not None:
        take_reproduction(given.reproduce, STORED)
    for text in given.bench:
        name, _, file = text.partition("=")
        take_benchmark(name, Path(file), STORED)
    for text in given.compare:
        name, _, folder = text.partition("=")
        take_comparison(name, Path(folder), STORED)
    PAGE.write_text(page(STORED), encoding="utf-8")


if __name__ == "__main__":
    main()
