"""Two processes find what one finds, and only the first one speaks."""

import csv
import json
import os
import socket
import subprocess
import sys

import pytest

from paretoprune.errors import InvalidValueError
from paretoprune.pruning import parallel

SEARCH = """
import json, sys
from paretoprune.pruning import parallel
parallel.join()
from paretoprune.search.specs import StrategySpec
from paretoprune.core.study import run_study
from paretoprune.testing.relaxations import ToyPruning
search = StrategySpec.parse(sys.argv[2]).build()
result = run_study(ToyPruning(step_cost=0.2), search, seed=3, budget=30.0)
number, count = parallel.processes()
found = {"history": search.history, "count": count,
         "found": [[dict(e.candidate.values), e.objectives] for e in result.evaluations]}
open(f"{sys.argv[1]}/{number}.json", "w").write(json.dumps(found))
parallel.leave()
"""


def launched(code, arguments, count):
    """Run Python `count` times, as a launcher would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    running = [
        subprocess.Popen(
            [sys.executable, *code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | common | {"RANK": str(n), "LOCAL_RANK": str(n)}, text=True,
        )
        for n in range(count)
    ]  # fmt: skip
    return [(*process.communicate(timeout=540), process.returncode) for process in running]


def assert_alike(found, expected):
    """Equal, but for the order in which numbers were added up."""
    assert type(found) is type(expected)
    if isinstance(found, dict | list):
        assert len(found) == len(expected)
        for key in found if isinstance(found, dict) else range(len(found)):
            assert_alike(found[key], expected[key])
    else:
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["gradient:knots=3", "adaptive:knots=3", "vispco:width=8"])
def test_two_processes_find_what_one_finds(tmp_path, strategy):
    asked = f"{strategy},batch=10,micro_batch=4,inner_steps=4,most_finals=6"
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        for _, errors, code in launched(["-c", SEARCH], [str(folder), asked], count):
            assert code == 0, errors
    one = json.loads((tmp_path / "1" / "0.json").read_text())
    first, second = (json.loads((tmp_path / "2" / f"{n}.json").read_text()) for n in (0, 1))
    assert (one["count"], first["count"]) == (1, 2)
    assert first == second
    assert first["history"]
    assert_alike(first, {**one, "count": 2})


def test_a_run_of_its_own_has_one_process_and_its_own_device():
    assert parallel.processes() == (0, 1)
    assert parallel.own_device("cuda") == "cuda"


def test_half_a_launcher_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidValueError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"):
        parallel.join()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["gradient", "adaptive"])
def test_the_command_under_a_launcher_writes_once_and_finds_the_same(tmp_path, strategy):
    """The real soft decoder and evaluations, shared by two processes."""
    asked = ["-m", "paretoprune", "search", f"{strategy}:inner_steps=2,most_finals=4"]
    small = ["--budget", "12", "--search-size", "16", "--heldout-size", "8"]
    fronts = []
    for count in (1, 2):
        out = tmp_path / str(count)
        ended = launched(asked, [*small, "--out", str(out)], count)
        assert [code for _, _, code in ended] == [0] * count, ended
        assert "held-out front area" in ended[0][0]
        assert all(not told for told, _, _ in ended[1:])
        with (out / "front.csv").open() as rows:
            fronts.append(
                [
                    (float(r["search_score"]), float(r["search_compute"]))
                    for r in csv.DictReader(rows)
                ]
            )
    # sums in another order move a schedule by a step of its lattice, and a score by a sample of 16
    for one, other in (fronts, fronts[::-1]):
        assert all(any(a == pytest.approx(b, abs=0.15) for b in other) for a in one)
