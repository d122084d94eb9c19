"""Benchmarks on a mini-model with its own tokenizer: MiniVQA's questions in their schemas."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.compression.samples import task_metrics
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.load import load_task
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.tasks.scoring import Exact
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_same_samples

from .files import write_parquet


def asked(family, count):
    """MiniVQA samples of one family."""
    return [s for s in load_split("heldout", 8 * count) if s.family == family]


def chart_file(folder, count=48):
    rows = [
        {"image": Image.fromarray(s.image), "question": s.prompt, "answer": s.answer,
         "type": "human_test" if i % 2 else "augmented_test"}
        for i, s in enumerate(asked("chart", count))
    ]  # fmt: skip
    return write_parquet(folder / "charts.parquet", rows)


def test_generated_answers_score_as_teacher_forced_ones(tmp_path):
    """Bars are 1 to 6 high, so that 5 % tolerate nothing and both ways must agree."""
    data = chart_file(tmp_path)
    problem = load_problem(
        task="chartqa:instruction=none", data=data, search_size=16, heldout_size=16
    )
    assert problem.dense_score > 0.5 > problem.text_only_score + 0.05
    forced = [replace(s, scoring=Exact()) for s in problem.samples]
    other = Compression(problem.adapter, forced, Tokens(FastV()))
    candidates = [
        exact_candidate(KeepSchedule((1.0,) * 2 + (ratio,) * 6)) for ratio in (0.5, 0.1, 0.02)
    ]
    for one, two in zip(problem.evaluate(candidates), other.evaluate(candidates), strict=True):
        assert_same_samples(one.outcomes, two.outcomes)
        human = [s.family == "human" for s in problem.samples]
        assert one.metrics["relaxed_human"] == pytest.approx(one.outcomes[human].mean())
        assert "relaxed_human" not in two.metrics
    part = replace(candidates[0], share=0.5)
    assert "relaxed_human" not in problem.evaluate([part])[0].metrics  # groups may be cut
    searched, judged = ({s.id for s in p.samples} for p in (problem, problem.heldout))
    assert not searched & judged
    (held,) = problem.heldout.evaluate(candidates[:1])
    assert "relaxed_human" in held.metrics
    assert any("dense model on these 16 samples: relaxed_human" in n for n in problem.notes())


def test_pairs_and_choices_run_through(tmp_path):
    rows = [
        {"question_id": str(i // 2), "image": Image.fromarray(s.image), "question": s.prompt,
         "answer": s.answer, "category": "existence"}
        for i, s in enumerate(asked("existence", 64))
    ]  # fmt: skip
    data = write_parquet(tmp_path / "mme.parquet", rows)
    problem = load_problem(
        task="mme:instruction=none,scoring=generation", data=data, search_size=16, heldout_size=0
    )
    figures = task_metrics(problem.task, problem.samples, problem.dense_outcomes)
    assert problem.dense_score > 0.7
    assert 0 < figures["accuracy_plus"] <= problem.dense_score
    expected = 100 * (problem.dense_score + figures["accuracy_plus"])
    assert figures["mme_score"] == pytest.approx(expected)
    rows = [
        {"index": i, "image": Image.fromarray(s.image), "question": s.prompt, "hint": None,
         "answer": "ABC"[i % 3], "A": "star", "B": "ring", "C": "cross", "D": None}
        for i, s in enumerate(asked("choice", 12))
    ]  # fmt: skip
    task = load_task("mmbench", write_parquet(tmp_path / "mmbench.parquet", rows))
    samples = task("search", 8)
    choices = Compression(
        problem.adapter, samples, Tokens(FastV()), allow_no_tradeoff=True, task=task
    )
    assert set(task_metrics(choices.task, choices.samples, choices.dense_outcomes)) == {
        "vanilla_accuracy", "circular_accuracy",
    }  # fmt: skip
    assert len({s.together for s in samples}) * 3 == len(samples)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "paretoprune", *arguments],
        capture_output=True, text=True, timeout=500,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip


@pytest.mark.slow
def test_the_commands_take_a_benchmark_and_its_data(tmp_path):
    task = ["--task", "chartqa:instruction=none", "--data", chart_file(tmp_path)]
    out = tmp_path / "found"
    done = run(
        "search", "random:space=single-step", "--budget", "3", "--search-size", "16",
        "--heldout-size", "16", *task, "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "relaxed_human" in done.stdout
    assert "Generating" not in done.stderr  # the library's own bars
    stored = json.loads((out / "comparison.json").read_text())
    assert "relaxed_augmented" in json.dumps(stored)
    schedule = next((out / "schedules").glob("*.json"))
    done = run("evaluate", str(schedule), "--size", "16", *task)
    assert done.returncode == 0, done.stderr
    assert "judged answers" in done.stdout
    assert "relaxed human" in done.stdout
    done = run("evaluate", str(schedule), "--task", "chartqa")
    assert done.returncode == 2
    assert "'chartqa' needs --data" in done.stderr
    assert "Traceback" not in done.stderr
