"""Presets on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paretoprune.cli import app
from paretoprune.comparison.results import read_summary
from paretoprune.errors import ParetopruneError

SMALL = ["--search-size", "16", "--heldout-size", "16", "--budget", "2", "--seeds", "1"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_they_are_listed() -> None:
    for kind in ("preset", "presets"):
        done = run("list", kind)
        assert done.exit_code == 0
        assert "fastv:k=2,r=0.5" in done.output
        assert "pyramiddrop:default" in done.output
        assert "arXiv 2403.06764" in done.output


def test_evaluate_a_preset() -> None:
    done = run("evaluate", "--preset", "sparsevlm:64", "--size", "16")
    assert done.exit_code == 0, done.output
    assert "pruner sparsevlm:" in done.output
    assert "preset sparsevlm:64 of LLaVA-1.5-7B" in done.output
    assert "keep 100 14 6 6 3 3 3 3" in done.output


def test_show_presets_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "kept.png"
    done = run("show", "--preset", "visionzip", "--preset", "vtw", "--out", str(file))
    assert done.exit_code == 0, done.output
    assert file.read_bytes().startswith(b"\x89PNG")
    assert "48 48 48 48 48 48 48 48" in done.output  # 192 of 576
    assert "fastv" not in done.output  # no schedule was asked for
    done = run("show", "--preset", "vtw", "--pruner", "fastv", "--out", str(tmp_path / "2.png"))
    assert "fastv" in done.output


def test_compare_with_presets(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = run(
        "compare", "-s", "random", *SMALL, "--preset", "fastv", "--preset", "divprune",
        "--out", str(folder),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Published presets" in done.output
    assert "Of 3 published presets, the found front dominates" in done.output
    summary = read_summary(folder)
    assert [p.names[0].split(":")[0] for p in summary.presets] == ["divprune", "fastv", "fastv"]
    assert all(row.label == "random" for row in summary.standings)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ">Published presets</h2>" in page
    assert "divprune:r=0.098" in page
    (folder / "front.png").unlink()
    again = run("report", str(folder))
    assert again.exit_code == 0
    assert "Published presets" in again.output
    assert (folder / "front.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["evaluate", "--preset", "fastv:k=2,r=0.6"], "Did you mean 'fastv:k=2,r=0.5'?"),
        (["evaluate", "--preset", "fastv"], "name one preset here"),
        (["evaluate"], "either a schedule file or a --preset"),
        (["show", "--preset", "fatsv"], "Did you mean 'fastv'?"),
        (
            ["show", "--preset", "visionzip:64", "--model", "mini-qwen2.5-vl"],
            "preset 'visionzip:64' does not fit",
        ),
        (["compare", "--preset", "fatsv"], "Did you mean 'fastv'?"),
        (
            ["compare", "--with-presets", "--problem", "zdt1"],
            "presets are of --compress tokens; there are none",
        ),
        (
            ["compare", "--compress", "weight_bits", "--pruner", "dart"],
            "--pruner is of --compress tokens; --compress weight_bits searches none",
        ),
        (["search", "tpe", "--compress", "kv_bits", "--per-picture"], "--per-picture is of"),
        (["search", "tpe", "--compress", "weight_bits", "--levels", "4"], "--levels is of"),
        (["compare", "-s", "random,tpe:startpu=3", "--model", "nope"], "Did you mean 'startup'?"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], told: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, ParetopruneError), done.output
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)


def test_export_of_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "sparse.yml"
    done = run("export", "--preset", "fastv:k=2,r=0.5", "--to", "lightcompress", "--out", str(file))
    assert done.exit_code == 0, done.output
    assert "pruning_loc: 2" in file.read_text()
    assert "rate: 0.5" in file.read_text()
