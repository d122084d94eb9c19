"""`compare --config`, `init` and `rerun` as a user sees them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import run_command as run

from paretoprune import cli
from paretoprune.comparison.configuration import read_study
from paretoprune.comparison.log.place import parse_storage
from paretoprune.comparison.provenance import read_provenance
from paretoprune.comparison.sweep import read_matrix, read_summaries
from paretoprune.errors import InvalidValueError

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
        ('objectives = ["score", "computs"]', "Did you mean 'compute'"),
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


MINE = """
from paretoprune import Int, Objective, Problem, as_problem

declared = as_problem(
    knobs=[Int("n", 1, 9)],
    objectives=[
        Objective("quality", "max", reference=0, best=1),
        Objective("cost", "min", reference=10, best=0),
    ],
)

@declared
def good(n, split):
    return {"quality": n / 9, "cost": n}

@declared
def undefined(n):
    return {"quality": helper(n), "cost": n}

def helper(n):
    return n / missing

@declared
def lacking(n):
    return {"quality": n / 9}

@declared
def paired(n):
    return n / 9, n

@declared
def worded(n):
    return {"quality": str(n / 9), "cost": n}

@declared
def uneven(n):
    return {"quality": [n / 9] * n, "cost": n}

@declared
def infeasible(n):
    raise ValueError("nowhere feasible")

@declared
def unjudged(n, split):
    if split == "heldout":
        raise RuntimeError("no held-out data")
    return {"quality": n / 9, "cost": n}

@declared
def leaving(n):
    raise SystemExit(0)

class Mispriced(type(good)):
    def __init__(self):
        super().__init__(good.function, knobs=good.space().knobs, objectives=good.objectives)

    def price(self, candidate):
        return -1
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run a command in this process, in a folder with the problems of `MINE`."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*words: str) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["paretoprune", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().err

    return call


SHORT = ("-s", "random", "-s", "nsga2", "--budget", "6", "--seeds", "1", "--out", "out")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("undefined", "NameError: name 'missing' is not defined (mine.py, line 21)"),
        ("lacking", "unknown objective of problem 'lacking' 'cost'"),
        ("paired", "must return its objectives by name"),
        ("worded", "'quality' must be a number or one number per sample, got '"),
        ("uneven", "all values per sample, in every call, are of the same samples"),
        ("infeasible", "all 12 evaluations of problem 'infeasible' failed"),
        ("unjudged", "held-out evaluations failed; one: RuntimeError: no held-out data"),
        ("leaving", "SystemExit: 0 (mine.py"),
        ("Mispriced", "at -1: a price is a finite number"),
    ],
)
def test_a_users_function_that_goes_wrong_is_one_sentence_and_exit_code_2(
    command: Any, name: str, told: str
) -> None:
    """It spent the whole budget and exited with 0."""
    code, said = command("compare", "--problem", f"mine.py:{name}", *SHORT)
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("paretoprune: ") and told in last
    assert "Traceback" not in said
    assert ("in helper" in said) == (name == "undefined")  # the calls to the mistake
    assert (Path("out") / "comparison.json").exists() == (name == "unjudged")


@pytest.mark.parametrize("door", ["search", "config", "resume", "rerun"])
def test_a_mistake_ends_every_command_that_searches(command: Any, door: str) -> None:
    problem = ("--problem", "mine.py:good")
    broken = MINE.replace("def good(n, split):", "def good(n, split):\n    n = missing")
    study = 'problem = "mine.py:good"\nstrategy = "random"\nbudget = 6\nseeds = 1\n'
    Path("study.toml").write_text(study)
    words: tuple[str, ...] = {
        "search": ("search", "random", "--budget", "6", *problem),
        "config": ("compare", "--config", "study.toml", *problem),
        "resume": ("compare", "--resume", "out", *problem),
        "rerun": ("rerun", "out", *problem),
    }[door]
    if door == "resume":
        Path("mine.py").write_text(broken)
    if door in ("resume", "rerun"):
        assert command("compare", *problem, *SHORT)[0] == (2 if door == "resume" else 0)
    Path("mine.py").write_text(broken)
    code, said = command(*words)
    assert code == 2
    assert "NameError: name 'missing' is not defined" in said.splitlines()[-1]
    if door == "resume":  # mended, it goes on
        Path("mine.py").write_text(MINE)
        assert command(*words)[0] == 0


@pytest.mark.parametrize("budget", ["0.5", "0.999"])
def test_a_budget_for_no_evaluation_is_one_sentence_and_exit_code_2(
    command: Any, budget: str
) -> None:
    """`compare --budget 0.5` exited with 0 and nothing."""
    code, said = command("compare", "--problem", "zdt1", "-s", "random", "--budget", budget)
    assert code == 2
    assert f"the budget of {budget} pays for no evaluation of problem 'zdt1'" in said


STORAGES = [
    "postgresql://me@host:notaport/db", "postgresql://me@[::1/db", "postgresql://u@h:5432:33/db",
    "postgresql://me@host:99999999/db", "postgresql://me@host:-1/db", "postgresql://me@host:0/db",
    "postgresql+psycopg2://me@h/db", "postgresql+asyncpg://me@h/db", "sqlite+aiosqlite:///x.db",
    "sqlite://host/x.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///x.db?timeout=abc",
    "sqlite:///a\0b", "postgresql://", "postgres://me@h/db", "POSTGRESQL://me@h/db", "mysql://h/db",
    "://", " ", "file.db", "postgresql://me:se@cret:x@h/db",
    "postgresql://h..x/db", f"postgresql://{'h' * 64}/db",
]  # fmt: skip


@pytest.mark.parametrize("storage", STORAGES)
def test_a_malformed_storage_is_one_sentence_and_exit_code_2(command: Any, storage: str) -> None:
    """`--storage postgresql://...:notaport/...` ended in a traceback."""
    code, said = command("compare", "--problem", "zdt1", "--storage", storage, *SHORT)
    assert code == 2
    assert said.startswith("paretoprune: ") and said.count("\n") == 1
    assert "cret" not in said
    with pytest.raises(InvalidValueError):
        parse_storage(storage)
    Path("study.toml").write_text(f"storage = {json.dumps(storage)}\n")
    code, said = command("compare", "--config", "study.toml")
    assert code == 2 and "Traceback" not in said and "cret" not in said
