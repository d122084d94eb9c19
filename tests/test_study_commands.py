"""`compare --config`, `init` and `rerun` as a user sees them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import run_command as run

from paretoprune import cli
from paretoprune.matrix import read_matrix, read_summaries
from paretoprune.provenance import read_provenance
from paretoprune.study_file import read_study

QUICK = 'problem = "zdt1"\nstrategy = ["random", "nsga2"]\nseeds = [3, 5]\nbudget = 20\n'


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    (folder / "study.toml").write_text(QUICK + 'out = "mine"\n')
    done = run("compare", "--config", "study.toml", "--budget", "24", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_file_is_run_and_flags_come_before_it(quick: Path) -> None:
    summary = read_summaries(quick / "mine")[""]
    assert summary.settings["budget"] == 24
    assert summary.settings["seeds"] == [3, 5]
    assert [s.label for s in summary.studies] == ["random", "random", "nsga2", "nsga2"]


def test_the_resolved_file_and_what_it_ran_on_lie_with_the_results(quick: Path) -> None:
    study = read_study(quick / "mine" / "study.toml")
    assert (study.problem, study.seeds, study.budget) == ("zdt1", (3, 5), 24.0)
    assert study.strategy == ("random", "nsga2")
    found = read_provenance(quick / "mine")
    assert found is not None
    assert found.seeds == [3, 5]
    assert {"paretoprune", "optuna", "numpy", "python"} <= found.versions.keys()
    assert {"machine", "cores", "processor"} <= found.hardware.keys()
    assert not list(quick.rglob("*.partial"))


def test_a_rerun_says_that_the_fronts_are_equal(quick: Path) -> None:
    done = run("rerun", "mine", cwd=quick)
    assert done.returncode == 0, done.stderr
    points = len(read_summaries(quick / "mine")[""].front)
    assert f"mine: the fronts are equal ({points} points)" in done.stdout
    assert (quick / "mine-rerun" / "comparison.json").exists()


def test_a_rerun_says_which_fronts_differ_and_what_has_changed(quick: Path, tmp_path: Path) -> None:
    results = tmp_path / "old"
    results.mkdir()
    for name in ("study.toml", "comparison.json", "provenance.json"):
        (results / name).write_bytes((quick / "mine" / name).read_bytes())
    content = json.loads((results / "comparison.json").read_text())
    content["front"][0]["search"]["f1"] += 1e-9
    (results / "comparison.json").write_text(json.dumps(content))
    origin = json.loads((results / "provenance.json").read_text())
    origin["versions"]["numpy"] = "1.0"
    (results / "provenance.json").write_text(json.dumps(origin))
    done = run("rerun", "old", "--out", "new", cwd=tmp_path)
    assert done.returncode == 1
    assert "old: the fronts differ" in done.stdout
    point = content["front"][0]
    assert f"  {point['label']} seed {point['seed']}: " in done.stdout
    assert "  numpy 1.0 -> " in done.stdout


def test_init_writes_a_file_that_runs_and_never_overwrites(tmp_path: Path) -> None:
    done = run("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    read_study(tmp_path / "study.toml")
    again = run("init", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr == "paretoprune: study.toml exists; name another file\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('strategy = "ngsa2"', "Did you mean 'nsga2'"),
        ('task = ["minivqs"]', "Did you mean 'minivqa'"),
        ('reference = "grid:fin"', "Did you mean 'fine'"),
        ('objectives = ["score", "flopz"]', "Did you mean 'flops'"),
        ('pruner = ["fastv", "fastw"]', "Did you mean 'fastv'"),
        ('model = ["mini-llava", "mini-lava"]', "Did you mean 'mini-llava'"),
        ("trust_remote_code = true", "--trust-remote-code"),
        ('problem = "evil.py:X"', "--problem evil.py:X"),
        ("sedes = 3", "study file study.toml: unknown setting 'sedes'"),
    ],
)
def test_mistakes_show_before_anything_is_run(
    text: str, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "study.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["paretoprune", "compare", "--config", "study.toml"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_combinations_get_a_folder_each_and_one_overview(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'strategy = ["random", {name = "nsga2", population = 8}]\nseeds = 1\nbudget = 2\n'
        'search_size = 16\nheldout_size = 16\npruner = ["fastv", "fastervlm", "random"]\n'
        'model = "mini-qwen2.5-vl"\n'
    )
    done = run("compare", "--config", "study.toml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2, done.stderr  # one pruner needs what this model has not
    assert "Traceback" not in done.stderr
    assert "paretoprune: fastervlm: " in done.stderr
    out = tmp_path / "out"
    matrix = read_matrix(out)
    assert matrix is not None
    assert [(c.folder, c.failure is None) for c in matrix.cases] == [
        ("fastv", True), ("fastervlm", False), ("random", True),
    ]  # fmt: skip
    summaries = read_summaries(out)
    assert list(summaries) == ["fastv", "random"]
    for name, summary in summaries.items():
        assert summary.problem["pruner"] == name
        assert read_study(out / name / "study.toml").pruner == (name,)
        origin = read_provenance(out / name)
        assert origin is not None
        assert origin.data.keys() == {"search", "heldout", "model"}
    page = (out / "overview.html").read_text()
    assert 'href="fastv/report.html"' in page
    assert "fastervlm/report.html" not in page
    assert "not run: " in page
    assert "2 of 3 comparisons are finished" in (out / "overview.md").read_text()
    (out / "overview.html").unlink()
    assert run("report", "out", cwd=tmp_path).returncode == 0
    assert (out / "overview.html").read_text() == page
