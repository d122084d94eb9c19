"""The Results page is what its generator makes of the stored files, and of any others."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from paretoprune.comparison.compare import compare
from paretoprune.comparison.results import write_results
from paretoprune.compression.analytic import ZDT1
from paretoprune.experiments.reproduce.cached_runs import FULL, QUICK
from paretoprune.experiments.reproduce.claims import CLAIMS
from paretoprune.experiments.reproduce.finding import Finding, write_finding
from paretoprune.registry import strategies
from paretoprune.report import write_report
from paretoprune.search.specs import StrategySpec

DOCS = Path(__file__).resolve().parents[2] / "docs"
MACHINE = {"torch": "2.13.0", "device": "a CPU"}
BENCHES = {
    "evaluation": {
        "machine": MACHINE, "model": "m", "candidates": 64, "samples": 300, "repeats": 3,
        "seconds": {"shared": 2.0, "plain": 20.0, "dense": 1.0}, "flop_bound": 2.71,
        "share_of_bound": 1.03,
    },
    "prefill": {
        "machine": MACHINE, "spec": {"hidden": 1024, "layers": 16},
        "figures": [{"shape": "two drops", "batch": 1, "target": 0.5, "flop_ratio": 0.5,
                     "time_ratio": 0.52, "products_ratio": 0.51, "median_ms": 123.4,
                     "spread_ms": 5.6}],
    },
    "gradient-step": {
        "machine": MACHINE, "spec": {"hidden": 512, "layers": 8}, "dtype": "float32", "batch": 16,
        "weights": 100 << 20,
        "figures": [{"micro_batch": 4, "checkpoint": True, "planned_bytes": 500 << 20,
                     "measured_bytes": 475 << 20, "planned_seconds": 2.0, "measured_seconds": 2.5}],
    },
    "operators": {
        "machine": MACHINE,
        "models": {"m": {"dense": {"chart": (0.9, 0.01)}, "figures": [
            {"pruner": "fastv", "layer": layer, "keep": 0.5, "target": target,
             "score": 0.1 * layer + target, "standard_error": 0.02, "reached": target > 0.3,
             "families": {"chart": (0.25 * layer, 0.03)}}
            for layer in (1, 2) for target in (0.25, 0.5)
        ]}},
    },
    "search-cost": {
        "machine": MACHINE, "plan": {"grid": "grid:fine"}, "runs": 3, "of": 4,
        "rows": [{"strategy": "tpe", "model": "m", "split": 200, "seeds": 5, "longest": 40.0,
                  "area_ratio": 0.976, "ratio_low": 0.949, "ratio_high": 1.001,
                  "hypervolume_ratio": 0.957, "reached": 0, "cost": None}],
    },
}  # fmt: skip
FURTHER = ("search-cost-500", "search-cost-2000", "search-cost-untuned")
BENCHES |= dict.fromkeys(FURTHER, BENCHES["search-cost"])


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("docs_make_results", DOCS / "make_results.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def reproduction(folder, scale):
    (folder).mkdir()
    (folder / "scale.json").write_text(scale.model_dump_json())
    (folder / "machine.json").write_text(json.dumps(MACHINE))
    for number, (name, _) in CLAIMS.items():
        finding = Finding(
            number=number, name=name, title=f"Title {number}", claim=f"claim {number}",
            verdict="holds in part", sentence=f"Sentence {number} [0.01, 0.02].",
            columns=["of", "area"], rows=[["a", 0.1234]],
        )  # fmt: skip
        write_finding(folder / f"{number}-{name}", finding, Figure())
    return folder


def test_the_page_is_up_to_date(script):
    """If this fails, run `python docs/make_results.py`."""
    assert script.PAGE.read_text(encoding="utf-8") == script.page(script.STORED)


@pytest.mark.parametrize("scale", [FULL, QUICK])
def test_a_reproduction_is_shown_whole(script, tmp_path, scale):
    stored = tmp_path / "results"
    script.take_reproduction(reproduction(tmp_path / "r", scale), stored)
    text = script.page(stored)
    assert "about a million parameters" in text.split("\n\n")[1]
    for number, (name, _) in CLAIMS.items():
        assert f"| {number} | claim {number} | **holds in part** |" in text
        assert f"Sentence {number} [0.01, 0.02]." in text
        assert f"![Title {number}](results/{number}-{name}/figure.svg)" in text
        assert (stored / f"{number}-{name}" / "figure.svg").exists()
    assert text.count("| a | 0.123 |") == len(CLAIMS)
    assert "torch 2.13.0, device a CPU" in text
    assert ("verdicts are no evidence" in text) == (scale is QUICK)
    assert ("reproduce --quick" in text) == (scale is QUICK)
    assert text.count("Not measured for this page yet.") == len(script.BENCHMARKS) + len(
        script.COMPARISONS
    )


def test_a_second_reproduction_replaces_the_first(script, tmp_path):
    stored = tmp_path / "results"
    script.take_reproduction(reproduction(tmp_path / "r", FULL), stored)
    again = reproduction(tmp_path / "s", QUICK)
    (again / "8-transfer" / "finding.json").unlink()
    script.take_reproduction(again, stored)
    assert not (stored / "8-transfer").exists()
    assert "| 8 |" not in script.page(stored)
    with pytest.raises(SystemExit, match="no answered claim"):
        script.take_reproduction(tmp_path / "nothing", stored)


def test_benchmarks_fill_their_slots(script, tmp_path):
    assert set(BENCHES) == set(script.BENCHMARKS)
    for name, found in BENCHES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
        script.take_benchmark(name, tmp_path / f"{name}.json", tmp_path / "stored")
    text = script.page(tmp_path / "stored")
    assert "| plain | 20.00 | 10.00x |" in text
    assert "| two drops | 1 | 50% | 52% | 1.04 | 1.02 | 123.4 ± 5.6 |" in text
    assert "| rerun | 4 | 475 | 500 | 0.95 | 2.50 | 2.00 | 1.25 |" in text
    assert "| `fastv` | - | 0.60 ± 0.02 |" in text  # the earliest layer's, where it is reached
    assert "| dense | 0.90 ± 0.01 |\n| `fastv` | 0.25 ± 0.03 |" in text
    assert text.count("| 0.976 [0.949, 1.001] | 0.957 | 0 of 5 | not reached |") == 4
    # what a benchmark needs is made before it
    assert "$ paretoprune train mini-llava --seed 1 --steps 2000 --out untuned\n$ " in text
    assert "Not measured" not in text.split("## Benchmarks")[1]
    with pytest.raises(SystemExit, match="no section shows 'kernels'"):
        script.take_benchmark("kernels", tmp_path / "evaluation.json", tmp_path / "stored")


def test_comparisons_fill_their_slots(script, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    summary = compare(ZDT1(), ["random", "qmc"], budget=8.0, seeds=(0,)).summary
    write_results(folder, summary)
    write_report(folder, summary)
    ranking = (folder / script.RANKING).read_text()
    script.take_comparison("choosers", folder, tmp_path / "stored")
    text = script.page(tmp_path / "stored")
    assert ranking.strip() in text
    assert f"optuna {summary.versions['optuna']}" in text
    with pytest.raises(SystemExit, match="no section shows 'choser'"):
        script.take_comparison("choser", folder, tmp_path / "stored")


def test_every_strategy_is_among_the_choosers(script):
    named = {StrategySpec.parse(text).name for text in script.CHOOSERS}
    assert named == set(strategies.names())
