"""Comparisons: the ranking, and that every number can be recomputed from what is written."""

import csv
import re
import threading

import numpy as np
import optuna
import pytest

from paretoprune import Int, Objective, frontier
from paretoprune.comparison.compare import compare
from paretoprune.comparison.log import StudyLog, differences, projection, read_outcomes
from paretoprune.comparison.results import read_summary, write_results
from paretoprune.compression.analytic import DTLZ2, ZDT1
from paretoprune.compression.function import FunctionProblem
from paretoprune.compression.load import load_problem
from paretoprune.core.strategy import SearchStrategy
from paretoprune.core.study import run_study
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.registry import strategies
from paretoprune.report import write_report
from paretoprune.search.grid import GridSearch
from paretoprune.search.optuna_samplers import NSGAII
from paretoprune.search.random import RandomSearch
from paretoprune.search.specs import DEFAULT_STRATEGIES, StrategySpec
from paretoprune.testing.strategies import Killed, Mortal


@pytest.fixture(scope="module")
def finished(mini, tmp_path_factory):
    """A small real comparison with its results folder."""
    folder = tmp_path_factory.mktemp("results")
    with StudyLog(folder) as log:
        comparison = compare(
            mini, ["random", "grid:space=single-step", "nsga2"], budget=3.0, seeds=(0, 1), log=log
        )
    write_results(folder, comparison.summary)
    return comparison, folder


def test_the_summary_survives_the_file(finished):
    comparison, folder = finished
    assert read_summary(folder) == comparison.summary


def test_every_strategy_spends_at_most_the_budget_and_the_grid_runs_once(finished):
    comparison, _ = finished
    labels = [s.label for s in comparison.summary.studies]
    assert labels.count("grid:space=single-step") == 1
    assert labels.count("random") == 2
    for study in comparison.summary.studies:
        assert 2.0 < study.cost <= 3.0 + 1e-9


def test_hypervolume_and_front_are_recomputed_from_the_log(finished):
    comparison, folder = finished
    storage = f"sqlite:///{folder / 'study.db'}"
    for row in comparison.summary.studies:
        study = optuna.load_study(study_name=f"{row.label} seed={row.seed}", storage=storage)
        values = np.array([t.values for t in study.trials])
        score, compute = np.clip(values[:, 0], 0, 1), np.clip(values[:, 1], 0, 1)
        # area above and left of nothing: sweep by compute, best score so far
        order = np.argsort(compute)
        best, area = 0.0, 0.0
        for i, place in enumerate(order):
            best = max(best, score[place])
            right = compute[order[i + 1]] if i + 1 < len(order) else 1.0
            area += best * (right - compute[place])
        assert row.hypervolume == pytest.approx(area, abs=1e-9)
        assert len(values) == row.evaluations
        assert sum(t.user_attrs["cost"] for t in study.trials) == pytest.approx(row.cost)


def test_heldout_area_is_recomputed_from_front_csv(finished):
    comparison, folder = finished
    with (folder / "front.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for study in comparison.summary.studies:
        mine = [r for r in rows if r["label"] == study.label and int(r["seed"]) == study.seed]
        assert len(mine) == study.front_size
        total = 0.0
        for budget in np.linspace(0.05, 1.0, 20):
            fits = [r for r in mine if float(r["search_compute"]) <= budget + 1e-9]
            if fits:
                pick = max(
                    fits, key=lambda r: (float(r["search_score"]), -float(r["search_compute"]))
                )
                total += float(pick["heldout_score"])
        assert study.heldout_area == pytest.approx(total / 20, abs=1e-6)


def test_standings_are_means_over_seeds_in_order(finished):
    summary = finished[0].summary
    areas = [s.heldout_area for s in summary.standings]
    assert areas == sorted(areas, reverse=True)
    for standing in summary.standings:
        rows = [s for s in summary.studies if s.label == standing.label]
        assert standing.hypervolume == pytest.approx(np.mean([r.hypervolume for r in rows]))
        assert standing.heldout_area == pytest.approx(np.mean([r.heldout_area for r in rows]))
        assert standing.area_low <= standing.heldout_area <= standing.area_high


def test_the_union_front_is_the_nondominated_set_of_all(finished):
    summary = finished[0].summary
    costs = np.array([[-p.search["score"], p.search["compute"]] for p in summary.front])
    for i, point in enumerate(summary.front):
        dominated = ((costs <= costs[i]).all(1) & (costs < costs[i]).any(1)).any()
        if dominated:
            assert not point.on_union


def test_outcomes_give_the_logged_scores(finished, mini):
    _, folder = finished
    study = optuna.load_study(
        study_name="random seed=0", storage=f"sqlite:///{folder / 'study.db'}"
    )
    for trial in study.trials[:5]:
        outcomes = read_outcomes(folder, trial.user_attrs["outcomes"])
        assert len(outcomes) == len(mini.samples)
        assert outcomes.mean() == pytest.approx(trial.user_attrs["metrics"]["accuracy"])


def test_schedules_of_the_union_front_are_written(finished):
    comparison, folder = finished
    union = [p for p in comparison.summary.front if p.on_union]
    assert len(list((folder / "schedules").glob("*.json"))) == len(union)


def test_same_seeds_same_front():
    """Of problems that have evaluated nothing before: what one remembers shapes its batches."""
    problems = [load_problem(search_size=16, heldout_size=16) for _ in range(2)]
    runs = [compare(p, ["tpe", "gradient"], budget=3.0, seeds=(1,)) for p in problems]
    points = [[(p.label, p.knobs, p.search) for p in r.summary.front] for r in runs]
    assert points[0] == points[1]


def test_a_problem_without_heldout_data_is_ranked_by_hypervolume():
    comparison = compare(ZDT1(), ["random", "nsga2"], budget=120.0, seeds=(0, 1))
    standings = comparison.summary.standings
    assert standings[0].hypervolume >= standings[1].hypervolume
    assert standings[0].heldout_area is None


def test_three_objectives_work():
    summary = compare(DTLZ2(), ["random", "pymoo-nsga2"], budget=60.0, seeds=(0,)).summary
    assert len(summary.standings) == 2
    assert all(s.hypervolume > 0 for s in summary.standings)


def test_messages_name_a_strategy_as_the_user_did():
    with pytest.raises(
        UnsupportedError, match="strategy 'gradient:grid_points=4' handles at most 2"
    ):
        compare(DTLZ2(), ["gradient:grid_points=4"], budget=60.0)


def test_interruption_leaves_a_partial_comparison(tmp_path):
    def observe(progress):
        if progress.label == "nsga2":
            raise KeyboardInterrupt

    comparison = compare(ZDT1(), ["random", "nsga2", "tpe"], budget=40.0, observe=observe)
    summary = comparison.summary
    assert summary.interrupted
    assert {s.label for s in summary.standings} == {"random", "nsga2"}
    write_results(tmp_path, summary)
    assert read_summary(tmp_path).interrupted


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["randm"], UnknownNameError, "Did you mean 'random'"),
        (["random:popluation"], InvalidValueError, "written as name=value, got 'popluation'"),
        (
            ["nsga2:popsize=3"],
            UnknownNameError,
            "option of strategy .nsga2.: .popsize.; known: pop",
        ),
        (["random:space=fre"], UnknownNameError, "Did you mean"),
        (["random", "random"], InvalidValueError, "named twice"),
        ([], InvalidValueError, "at least one strategy"),
        (["gradient"], UnsupportedError, "black box"),
    ],
)
def test_mistakes_are_found_before_anything_is_paid_for(names, error, message):
    class Unpaid(ZDT1):
        def evaluate(self, candidates):
            raise AssertionError("evaluated before the mistake was found")

    problem = Unpaid()
    if "fre" in str(names):
        problem.spaces = {"free": next(iter(problem.spaces.values()))}
    with pytest.raises(error, match=message):
        compare(problem, names, budget=10.0)


def test_specs_round_trip():
    for text in (*DEFAULT_STRATEGIES, "nsga2:population=24,space=free"):
        assert StrategySpec.parse(StrategySpec.parse(text).label) == StrategySpec.parse(text)
    compared = {StrategySpec.parse(t).name for t in DEFAULT_STRATEGIES}
    assert compared < set(strategies.names())


def test_a_folder_that_is_no_results_folder_is_one_sentence(tmp_path):
    with pytest.raises(BrokenFileError, match="is not a results folder"):
        read_summary(tmp_path)
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(BrokenFileError, match="created: Field required"):
        read_summary(tmp_path)


def test_the_anytime_curve_never_falls_and_ends_at_the_hypervolume(finished):
    for study in finished[0].summary.studies:
        heights = [h for _, h in study.curve]
        assert heights == sorted(heights)
        assert heights[-1] == pytest.approx(study.hypervolume)
        assert study.curve[-1][0] <= study.cost + 1e-9


def test_normalisation_clips_scores_above_dense(mini):
    costs = frontier.normalise(np.array([[1.02, 0.5], [-0.1, 0.5]]), mini.objectives)
    assert costs.tolist() == [[0.0, 0.5], [1.0, 0.5]]


def test_a_strategy_class_can_be_compared_without_registering_it():
    class Mine(RandomSearch):
        pass

    summary = compare(ZDT1(), [Mine, "random"], budget=20.0, seeds=(0,)).summary
    assert {s.label for s in summary.standings} == {"Mine", "random"}
    assert summary.standings[0].hypervolume == summary.standings[1].hypervolume


def test_compare_is_the_function_whatever_was_imported_before():
    """The module of the same name used to hide it."""
    import paretoprune
    import paretoprune.comparison.compare

    assert callable(paretoprune.compare)


def test_a_gradient_search_in_two_spaces_is_refused(mini):
    with pytest.raises(UnsupportedError, match="kernel=linear and space=multi-step name two"):
        compare(mini, ["gradient:space=multi-step,kernel=linear"], budget=3.0)


def test_switches_are_read():
    assert dict(StrategySpec.parse("gradient:grid_points=4,estimator=soft").options) == {
        "grid_points": 4,
        "estimator": "soft",
    }


def test_the_best_seed_is_chosen_without_heldout_data(finished):
    summary = finished[0].summary
    rows = [s for s in summary.studies if s.label == summary.best_label]
    best = max(rows, key=lambda s: s.hypervolume)
    assert {p.seed for p in summary.front_of_best()} == {best.seed}


# --- strategies that were built


class Stepping(SearchStrategy):
    """Walks along the first knob by `step`, and remembers how often it was asked."""

    def __init__(self, step=0.1, memory=None):
        self.step = step
        self.asked = [] if memory is None else memory

    def ask(self, n):
        self.asked.append(n)
        place = (len(self.asked) * self.step + self.context.rng().random()) % 1
        return [self.point({"x1": place, "x2": place})]


def test_instances_are_compared_each_study_with_a_copy():
    """`compare(problem, [MySearch(step=.3)])` raised AttributeError."""
    mine = Stepping(step=0.3)
    both = [mine, Stepping(step=0.5), Stepping]
    summary = compare(ZDT1(d=2), both, budget=6.0, seeds=2).summary
    assert {s.label for s in summary.standings} == {
        "Stepping:step=0.3", "Stepping:step=0.5", "Stepping",
    }  # fmt: skip
    assert [s.seed for s in summary.studies if s.label == "Stepping:step=0.3"] == [0, 1]
    assert mine.asked == [] and "problem" not in vars(mine)  # it knows of no study
    again = compare(ZDT1(d=2), both, budget=6.0, seeds=2).summary
    assert [(p.label, p.seed, p.search) for p in again.front] == [
        (p.label, p.seed, p.search) for p in summary.front
    ]
    alone = compare(ZDT1(d=2), [Stepping(step=0.3)], budget=6.0, seeds=[1]).summary
    assert [p.search for p in alone.front] == [
        p.search for p in summary.front if p.label == "Stepping:step=0.3" and p.seed == 1
    ]


def test_an_instance_finds_what_its_name_finds():
    pairs = [("nsga2:population=4", NSGAII(population=4)), ("random", RandomSearch())]
    for name, instance in pairs:
        named, built = (compare(ZDT1(d=2), [s], budget=12.0).summary for s in (name, instance))
        assert [p.search for p in named.front] == [p.search for p in built.front]
    assert StrategySpec.of(NSGAII(population=4)).options == (("population", 4),)


def test_an_instance_that_does_not_depend_on_its_seed_runs_once():
    summary = compare(ZDT1(d=2), GridSearch(points=3), budget=9.0, seeds=(0, 1)).summary
    assert [s.label for s in summary.studies] == ["GridSearch:points=3"]


def test_a_study_of_an_instance_is_resumed(tmp_path):
    def run(folder, lives=None):
        problem = Mortal(ZDT1(d=2))
        problem.lives = lives
        with StudyLog(tmp_path / folder) as log:
            compare(problem, [Stepping(step=0.3)], budget=6.0, log=log, resume=True)

    with pytest.raises(Killed):
        run("one", lives=3)
    run("one")
    run("whole")
    assert differences(projection(tmp_path / "one"), projection(tmp_path / "whole")) == []


def used():
    strategy = RandomSearch()
    run_study(ZDT1(), strategy, budget=2.0)
    return strategy


def labelled():
    strategy = Stepping()
    strategy.label = "mine"
    return strategy


@pytest.mark.parametrize(
    ("strategies", "told"),
    [
        (lambda: [used()], "strategy RandomSearch was started before: give its class, or an"),
        (lambda: [Stepping(memory=threading.Lock())], "'Stepping' cannot be copied .* its class"),
        (lambda: [Stepping(), Stepping()], "strategy 'Stepping' is named twice"),
        (lambda: [labelled(), labelled()], "strategy 'mine' is named twice"),
        (lambda: [3], "a strategy is a name such as 'tpe', or a class or an instance.*got 3"),
        (lambda: [dict], "a strategy is a name such as 'tpe'.*got <class 'dict'>"),
        (lambda: 3, "strategies are one or a list of them, got 3"),
        (lambda: None, "strategies are one or a list of them, got None"),
        (lambda: np.array(3), "strategies are one or a list of them, got array"),
    ],
)
def test_what_is_no_strategy_is_one_sentence(strategies, told):
    with pytest.raises(InvalidValueError, match=told):
        compare(ZDT1(), strategies(), budget=4.0)


def test_one_strategy_needs_no_list():
    for one in ("random", RandomSearch, RandomSearch(), StrategySpec("random")):
        assert len(compare(ZDT1(), one, budget=2.0, seeds=1).summary.studies) == 1


@pytest.mark.parametrize("seeds", [2, range(2), np.arange(2), (s for s in (0, 1))])
def test_seeds_are_a_list_or_their_number(seeds):
    """`seeds=2` was a bare TypeError."""
    studies = compare(ZDT1(), ["random"], budget=2.0, seeds=seeds).summary.studies
    assert [s.seed for s in studies] == [0, 1]


@pytest.mark.parametrize(
    "seeds",
    [0, -1, 1.5, "2", None, True, [1.5], ["0"], [True], [-1], [None], np.array(2), {0: 1}],
)
def test_what_is_no_seed_is_one_sentence(seeds):
    with pytest.raises(InvalidValueError, match="seed.* must be a whole number, [01] or more, got"):
        compare(ZDT1(), ["random"], budget=2.0, seeds=seeds)


# --- what fails


def judged(heldout):
    """A problem whose held-out evaluations are what `heldout(n)` gives."""

    def staircase(n, split):
        if split == "heldout":
            return heldout(n)
        return {"quality": [n / 9, n / 10], "cost": n}

    return FunctionProblem(
        staircase,
        knobs=[Int("n", 1, 9)],
        objectives=[
            Objective("quality", "max", reference=0.0, best=1.0),
            Objective("cost", "min", reference=10.0, best=0.0),
        ],
    )


def raised(error):
    raise error


def given(n, quality):
    return {"quality": quality, "cost": n}


@pytest.mark.parametrize(
    ("heldout", "told"),
    [
        (lambda n: raised(RuntimeError("no memory")), "9 of 9 held-out .* RuntimeError: no memory"),
        (lambda n: raised(KeyError("x")), "held-out data could not be evaluated: .*KeyError: 'x'"),
        (lambda n: given(n, np.nan), "9 of 9 held-out evaluations failed; one: returned quality"),
        (lambda n: given(n, np.nan if n == 3 else [0.5]), "1 of 9 held-out evaluations failed"),
        (lambda n: given(n, [0.5] * (2 if n < 5 else 3)), "could not be evaluated: .*of 3: all"),
        (lambda n: {"cost": n}, "could not be evaluated: unknown objective"),
        (lambda n: 0.5, "could not be evaluated: .*must return its objectives by name"),
    ],
)
def test_a_heldout_evaluation_that_fails_keeps_what_was_searched(heldout, told, tmp_path):
    """It ended in a pydantic error, and the results were lost."""
    comparison = compare(judged(heldout), ["grid", "random"], budget=9.0, seeds=1)
    summary = comparison.summary
    assert re.search(told, summary.failure)
    assert any(summary.failure in note for note in summary.notes)
    assert {s.label for s in summary.standings} == {"grid", "random"}
    assert all(s.heldout_area is None and s.hypervolume > 0 for s in summary.standings)
    assert len([p for p in summary.front if p.label == "grid"]) == 9
    write_results(tmp_path, summary)
    assert read_summary(tmp_path) == summary
    write_report(tmp_path, summary, None, None)


@pytest.mark.parametrize(("budget", "expected"), [(1.0, 7), (4.0, 24), (100.0, 24)])
def test_a_comparison_of_failures_alone_is_an_error(budget, expected, tmp_path):
    """It ended as if nothing had happened."""
    problem = judged(lambda n: None)
    problem.function = lambda n, split: raised(ValueError("nowhere feasible"))
    with StudyLog(tmp_path) as log, pytest.raises(InvalidValueError) as caught:
        compare(problem, ["random", "tpe", "grid", "nsga2"], budget=budget, log=log)
    said = str(caught.value)
    assert re.search(r"(all|the first) \d+ evaluations .* failed.*nowhere feasible", said)
    trials = sum(len(study["trials"]) for study in projection(tmp_path).values())
    assert f" {trials} evaluations" in said
    assert trials == expected


def test_a_budget_that_pays_for_nothing_is_one_sentence():
    """`compare --budget 0.5` said nothing, and that it was done."""
    told = "the budget of 0.5 pays for no evaluation of problem 'zdt1': one costs about 1"
    with pytest.raises(InvalidValueError, match=told):
        compare(ZDT1(), ["random", "tpe"], budget=0.5)


def test_a_study_without_any_result_is_told():
    class Expensive(RandomSearch):
        def ask(self, n):
            self.context.charge(self.context.remaining)
            return super().ask(n)

    summary = compare(ZDT1(), ["random", Expensive], budget=3.0, seeds=1).summary
    assert "Without any result: Expensive seed 0." in summary.notes


@pytest.mark.parametrize("asked", [None, 3, "abc", [1, 2], [None], object()])
def test_what_a_strategy_gives_when_asked_is_candidates(asked):
    class Mine(RandomSearch):
        def ask(self, n):
            return asked

    with pytest.raises(InvalidValueError, match="strategy 'Mine' must give a list of .*Candidate"):
        compare(ZDT1(), Mine, budget=2.0)


def test_a_strategy_may_give_its_candidates_one_by_one():
    class Mine(RandomSearch):
        def ask(self, n):
            yield from super().ask(n)

    mine, built_in = (compare(ZDT1(), s, budget=4.0, seeds=1).summary for s in (Mine, "random"))
    assert [p.search for p in mine.front] == [p.search for p in built_in.front]


@pytest.mark.parametrize("name", ["observe", "settings", "log", "reference"])
@pytest.mark.parametrize("value", [3, "x", [1]])
def test_an_argument_of_another_type_costs_no_search(name, value):
    """Settings that are no mapping ended in a TypeError after the searches."""

    class Untouched(ZDT1):
        def evaluate(self, candidates):
            raise AssertionError("it was searched")

    with pytest.raises(InvalidValueError, match=f"^{name} (is|are) "):
        compare(Untouched(), "random", budget=2.0, **{name: value})


@pytest.mark.parametrize("name", ["observe", "recorder", "space"])
@pytest.mark.parametrize("value", [3, "x", [1], {}])
def test_an_argument_of_another_type_is_refused_by_a_study(name, value):
    with pytest.raises(ParetopruneError, match=name):
        run_study(ZDT1(), RandomSearch(), budget=2.0, **{name: value})


def test_ctrl_c_while_a_strategy_starts_asks_it_for_no_trace():
    """What it traces was not there yet: an AttributeError after a SIGTERM."""

    class Slow(RandomSearch):
        starts = 0

        def start(self, problem, context):
            Slow.starts += 1
            if Slow.starts > 1:  # the first is a check before anything is searched
                raise KeyboardInterrupt
            super().start(problem, context)

        def trace(self):
            raise AttributeError("history")

    for some in (["random", Slow], [Slow]):
        Slow.starts = 0
        assert compare(ZDT1(), some, budget=2.0, seeds=1).summary.interrupted
