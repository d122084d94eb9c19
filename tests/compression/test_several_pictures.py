"""Token pruning of prompts that show several pictures: evaluations, prices, workers, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import paretoprune
from paretoprune.adapters.prompts import visual_mask
from paretoprune.cli import app
from paretoprune.comparison.configuration import StudyFile, read_study, write_study
from paretoprune.comparison.log import StudyLog
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.evaluator import KnownOutcomes, Running
from paretoprune.compression.kept_tokens import Question, Wanted, kept_tokens
from paretoprune.compression.problem import Compression
from paretoprune.compression.remote import Remote, worker_config_of
from paretoprune.compression.worker import SplitWorker
from paretoprune.compression.workers import WorkerPool
from paretoprune.compression.workers.threads import ThreadTransport
from paretoprune.deploy.lightcompress import lightcompress
from paretoprune.deploy.views import pruned
from paretoprune.errors import BrokenFileError, InvalidValueError, UnsupportedError
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.operators import make_pruner
from paretoprune.pruning.policies.files import read_policy, write_policy
from paretoprune.pruning.policies.static import Static
from paretoprune.report.schedule import card_markdown
from paretoprune.schedules import KeepSchedule, ScheduleFile, read_schedule, write_schedule
from paretoprune.techniques.tokens import Tokens

LAYERS = 8
TENTH = (1.0,) + (0.1,) * 7
LITTLE = (1.0,) + (0.5,) * 3 + (0.01,) * 4
WITHDRAWN = (1.0,) * 6 + (0.0,) * 2
SCHEDULES = [TENTH, LITTLE, WITHDRAWN, (1.0,) * LAYERS, (0.0,) * LAYERS]
WHITE, BLACK = (np.full((96, 96, 3), level, np.uint8) for level in (255, 0))
PER_PICTURE = 144
runner = CliRunner()


def with_more(samples):
    """Every third sample with a white picture behind its own, every third with two more."""
    more = {1: [WHITE], 2: [WHITE, BLACK]}
    return [
        replace(s, image=[s.image, *more[i % 3]]) if i % 3 else s for i, s in enumerate(samples)
    ]


@pytest.fixture(scope="module")
def samples(mini):
    return with_more(mini.samples[:6])


@pytest.fixture(scope="module")
def problems(mini, samples):
    return {
        option: Compression(
            mini.adapter,
            samples,
            Tokens(make_pruner("fastv"), per_picture=option),
            allow_no_tradeoff=True,
            heldout_samples=samples[:3],
            running=Running(batch=4),
        )
        for option in (False, True)
    }


def left_by_hand(problem, ratios):
    """Tokens of each picture of each sample in the last layer, from leaves that hold all tokens."""
    found = [[] for _ in problem.samples]
    for part in problem.evaluator.batches:
        (leaf,) = run_population(
            problem.adapter, part.prefill, np.array([ratios]), problem.tokens.pruner,
            sample=part.sample, per_picture=problem.tokens.per_picture,
        )  # fmt: skip
        visual = part.prefill.visual.tolist()
        for row, number in enumerate(part.sample.tolist()):
            places = [place for place, there in enumerate(visual[row]) if there]
            held = leaf.tokens.origin[row][leaf.tokens.visual[row]].tolist()
            pictures = len(places) // PER_PICTURE
            found[number] = [
                len(set(places[n * PER_PICTURE : (n + 1) * PER_PICTURE]) & set(held))
                for n in range(pictures)
            ]
    return found


@pytest.mark.parametrize("per_picture", [False, True])
@pytest.mark.parametrize("ratios", SCHEDULES)
@torch.no_grad()
def test_evaluations_say_how_many_samples_and_pictures_are_left_with_none(
    problems, per_picture, ratios
):
    problem = problems[per_picture]
    (found,) = problem.evaluate([exact_candidate(KeepSchedule(ratios))])
    left = left_by_hand(problem, ratios)
    assert found.metrics["samples_left_out"] == sum(not any(pictures) for pictures in left)
    assert found.metrics["pictures_left_out"] == sum(pictures.count(0) for pictures in left)
    kept = [sum(pictures) for pictures in left]
    last = problem.cost_model.kept_counts(np.array(ratios))[-1]
    assert last.tolist() == kept
    if per_picture and ratios[-1]:
        assert found.metrics["pictures_left_out"] == 0
    if not per_picture and ratios == LITTLE:
        assert found.metrics["pictures_left_out"] > found.metrics["samples_left_out"] == 0


def test_of_a_part_of_the_samples_only_these_count(problems):
    problem = problems[False]
    candidate = exact_candidate(KeepSchedule(WITHDRAWN))
    (found,) = problem.evaluate([replace(candidate, share=0.5)])
    part = problem.evaluator.part(0.5)
    assert found.metrics["samples_left_out"] == len(part)
    assert found.metrics["pictures_left_out"] == sum(1 + i % 3 for i in part)


def test_schedules_share_prefixes_as_if_run_alone(problems):
    problem = problems[True]
    candidates = [exact_candidate(KeepSchedule(row)) for row in SCHEDULES]
    together = problem.evaluate(candidates)
    for candidate, found in zip(candidates, together, strict=True):
        (alone,) = problem.evaluate([candidate])
        assert found.metrics == pytest.approx(alone.metrics, rel=1e-4, abs=1e-5)
        assert np.abs(found.retained - alone.retained).max() < 1e-4


def test_costs_are_of_what_each_picture_keeps(problems):
    ratios = np.array(LITTLE)
    off, on = problems[False].cost_model, problems[True].cost_model
    pictures = np.array([1 + i % 3 for i in range(6)])
    assert problems[True].evaluator.pictures.tolist() == pictures.tolist()
    visual = pictures * PER_PICTURE
    for costs, least in ((off, 1), (on, pictures)):
        small = np.maximum(np.floor(0.01 * visual + 0.5), least)
        whole = visual + 3 * np.floor(0.5 * visual + 0.5) + 4 * small
        assert costs.mean("visual_tokens", ratios) == pytest.approx(whole.mean() / LAYERS)
    candidate = exact_candidate(KeepSchedule(tuple(np.where(ratios == 0.01, 0.001, ratios))))
    more = problems[True].price(candidate) - problems[False].price(candidate)
    assert more > 0
    assert on.mean("kv_bytes", ratios) >= off.mean("kv_bytes", ratios)


def test_memory_and_latency_are_those_of_what_is_kept(mini, samples):
    shown = [samples[i] for i in (2, 5)]
    ratios = np.array((1.0,) + (0.001,) * 7)
    found = []
    for option in (False, True):
        problem = Compression(
            mini.adapter,
            shown,
            Tokens(make_pruner("fastv"), per_picture=option),
            allow_no_tradeoff=True,
        )
        timer = problem.cost_model.timer
        tokens, drops = timer.tokens_and_drops(ratios[None])
        assert (tokens[0, 1:] - timer.text).tolist() == [3 if option else 1] * 7
        assert drops.tolist() == [1]
        found.append(timer.kept_counts(ratios)[-1])
        assert problem.cost_model.mean("peak_memory_bytes", ratios) > 0
    assert found == [1, 3]


@pytest.mark.parametrize("mask", ["rank", "score"])
def test_the_relaxation_keeps_a_token_of_each_picture(problems, mask):
    relaxed = problems[True].relaxation()
    row = torch.tensor([(1.0,) + (0.01,) * 6 + (0.005,)], dtype=torch.float64)
    ratios = row.expand(3, -1).clone().requires_grad_(True)
    losses = relaxed.loss(ratios, np.arange(3), tau=1.0, mask=mask)
    assert torch.isfinite(torch.autograd.grad(losses.sum(), ratios)[0]).all()
    # what is priced is what is kept: the layers alone, without ranking
    kept = problems[True].cost_model.kept_counts(row[0].numpy())
    assert (kept[-1] == np.maximum([1, 1, 2] * 2, [1, 2, 3] * 2)).all()
    problem = problems[True]
    exact = relaxed.rounded_compute(exact_candidate(KeepSchedule(tuple(row[0].tolist()))))
    assert float(relaxed.compute(row)) == pytest.approx(exact, rel=0.05)
    assert float(relaxed.compute(row)) > float(problems[False].relaxation().compute(row))
    if mask == "rank":
        (found,) = problem.evaluate([exact_candidate(KeepSchedule(tuple(row[0].tolist())))])
        hard = relaxed.loss(row.expand(3, -1), np.arange(3), tau=1.0)
        assert np.abs(np.exp(-hard.numpy()) - found.retained[:3]).max() < 1e-4


def test_known_outcomes_know_it_too(mini, samples, tmp_path):
    problem = Compression(
        mini.adapter, samples, Tokens(make_pruner("fastv")), allow_no_tradeoff=True
    )
    candidate = exact_candidate(KeepSchedule(LITTLE))
    problem.evaluator.known = KnownOutcomes()
    first = problem.evaluate([candidate])[0].metrics["pictures_left_out"]
    problem.evaluator.known.save(tmp_path / "known.npz")
    problem.evaluator.known = KnownOutcomes()
    problem.evaluator.known.load(tmp_path / "known.npz", 6)
    (again,) = problem.evaluate([candidate])
    assert again.executed == 0
    assert again.metrics["pictures_left_out"] == first > 0


@pytest.mark.slow
def test_workers_keep_what_this_process_keeps(problems, samples):
    class TwoPictures(SplitWorker):
        def __init__(self):
            super().__init__(worker_config_of("mini-llava", "minivqa", None, 0, {}, {}))
            self._samples = {"search": samples}

    with WorkerPool(ThreadTransport(TwoPictures), 2) as pool:
        for option, here in problems.items():
            there = Compression(
                here.adapter,
                samples,
                Tokens(make_pruner("fastv"), per_picture=option),
                allow_no_tradeoff=True,
                running=Running(batch=4, executor=Remote(pool)),
            )
            assert there.evaluator.pictures.tolist() == here.evaluator.pictures.tolist()
            assert there.describe() == here.describe()
            candidates = [exact_candidate(KeepSchedule(row)) for row in (TENTH, LITTLE)]
            for a, b in zip(here.evaluate(candidates), there.evaluate(candidates), strict=True):
                assert a.metrics == pytest.approx(b.metrics, rel=1e-4, abs=1e-5)


def test_a_study_is_not_resumed_with_the_other_option(problems, tmp_path):
    assert "per_picture" not in problems[False].describe()
    assert problems[True].describe()["per_picture"] is True
    assert problems[True].heldout.describe()["per_picture"] is True
    (found,) = problems[True].evaluate([exact_candidate(KeepSchedule(TENTH))])
    assert found.detail["per_picture"] is True
    with StudyLog(tmp_path) as log:
        log.study("one", problems[True], {})
        log.study("one", problems[True], {}, resume=True)
        with pytest.raises(InvalidValueError, match="had per_picture True, now it is None"):
            log.study("one", problems[False], {}, resume=True)


def test_examples_show_what_each_picture_keeps(problems, samples):
    wanted = [Wanted("x", KeepSchedule(LITTLE), make_pruner(name)) for name in ("fastv", "tome")]
    for one in wanted:
        counts = []
        for option in (False, True):
            example = kept_tokens(
                problems[True].adapter,
                Question.of(samples[2]),
                [one],
                new_tokens=1,
                per_picture=option,
            )
            last = example.pruned[0].steps[-1]
            assert not {source for source, _ in last.merged} & set(last.kept)
            assert {target for _, target in last.merged} <= set(last.kept)
            counts.append([sum(example.view[t] == view for t in last.kept) for view in range(3)])
        assert min(counts[1]) >= 1
        assert sum(counts[1]) == max(3, sum(counts[0]))
    (example,) = problems[True].examples({"x": exact_candidate(KeepSchedule(LITTLE))}, 1)
    assert example.pruned[0].steps[-1].kept


# --- files and commands


def test_a_schedule_file_says_so_only_where_it_is_so(tmp_path):
    for option in (False, True):
        file = tmp_path / f"{option}.json"
        content = ScheduleFile(pruner="fastv", keep=list(LITTLE), per_picture=option)
        write_schedule(file, content)
        assert ("per_picture" in json.loads(file.read_text())) == option
        assert read_schedule(file) == content
        assert ("kept of each picture" in card_markdown(content, "x.json")) == option
    file.write_text(file.read_text().replace("true", '"yes"'))
    with pytest.raises(BrokenFileError, match="per_picture"):
        read_schedule(file)


@pytest.mark.slow
@torch.no_grad()
def test_a_deployed_file_keeps_a_token_of_each_picture(mini, samples, tmp_path):
    inputs = mini.adapter.inputs([samples[2].image], [samples[2].prompt])
    file, policy = tmp_path / "s.json", tmp_path / "p.json"
    write_schedule(file, ScheduleFile(pruner="fastv", keep=list(LITTLE), per_picture=True))
    write_policy(policy, Static(KeepSchedule(LITTLE)), pruner="fastv", per_picture=True)
    visual = visual_mask(mini.adapter, inputs["input_ids"])[0].nonzero()[:, 0]

    def smallest(schedule, **options):
        view = pruned(mini.adapter.model, schedule, **options)
        cache = view(**inputs, use_cache=True).past_key_values
        here = torch.isin(visual, cache.layers[-1].positions[0])
        return int(here.view(3, PER_PICTURE).sum(1).min())

    assert smallest(list(LITTLE)) == 0
    assert smallest(list(LITTLE), per_picture=True) >= 1
    for given in (file, policy, read_schedule(file), read_policy(policy)):
        assert smallest(given) >= 1
        assert smallest(given, per_picture=False) == 0
    loaded = paretoprune.load("mini-llava", schedule=file)
    assert loaded.model.pruning.per_picture


def test_lightcompress_has_no_words_for_it():
    content = ScheduleFile(pruner="fastv", keep=[1.0, 0.5], per_picture=True)
    with pytest.raises(UnsupportedError, match="no form of per_picture"):
        lightcompress(content)


def test_it_is_a_setting_of_a_study(tmp_path):
    assert StudyFile().per_picture is False
    write_study(tmp_path / "study.toml", StudyFile(per_picture=True))
    assert read_study(tmp_path / "study.toml").per_picture is True
    with pytest.raises(InvalidValueError, match="--per-picture"):
        StudyFile().changed({"per_picture": "often"})


@pytest.mark.slow
def test_commands_take_it(tmp_path, monkeypatch):
    """A search writes it into its schedules; `evaluate` reads it there."""
    monkeypatch.chdir(tmp_path)
    quick = ["--budget", "1", "--search-size", "8", "--heldout-size", "8", "--out", "found"]
    done = runner.invoke(app, ["search", "random", "--per-picture", *quick])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "found" / "comparison.json").read_text())
    assert summary["problem"]["per_picture"] is True
    assert summary["settings"]["per_picture"] is True
    assert all("pictures_left_out" in point["metrics"] for point in summary["front"])
    (file, *_) = sorted((tmp_path / "found" / "schedules").glob("*.json"))
    assert read_schedule(file).per_picture
    scoring = ["evaluate", "--size", "8"]
    done = runner.invoke(app, [*scoring, str(file)])
    assert done.exit_code == 0, done.output
    assert "at least one of each picture" in " ".join(done.output.split())
    write_schedule(tmp_path / "blind.json", ScheduleFile(pruner="fastv", keep=list(WITHDRAWN)))
    done = runner.invoke(app, [*scoring, "blind.json"])
    told = " ".join(done.output.split())
    assert "last layer: 8 of 8 samples, 8 of 8 pictures" in told
    assert "of each picture" not in told
