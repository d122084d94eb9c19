"""Which configurations and samples a comparison shows."""

import pytest

from paretoprune.comparison.compare import compare
from paretoprune.comparison.examples import BUDGETS, examples_of, points_to_show
from paretoprune.compression.analytic import ZDT1


@pytest.fixture(scope="module")
def comparison(mini):
    return compare(mini, ["random"], budget=4.0, seeds=(0,))


def test_the_search_split_picks_the_best_affordable_point(comparison):
    summary = comparison.summary
    front = summary.front_of_best()
    chosen = points_to_show(summary)
    assert chosen
    for label, point in chosen:
        assert label.startswith(f"point {front.index(point) + 1}, ")
    expected = []
    for budget in BUDGETS:
        affordable = [p for p in front if p.search["compute"] <= budget]
        if affordable:
            expected.append(max(affordable, key=lambda p: p.search["score"]))
    assert [p for _, p in chosen] == list({p.trial: p for p in expected}.values())
    # dearer than every budget: the cheapest alone
    assert [p for _, p in points_to_show(summary, budgets=(-1.0,))] == [front[0]]


def test_examples_are_the_front_s_schedules_on_heldout_samples(comparison, mini):
    found = examples_of(comparison, 2)
    points = points_to_show(comparison.summary)
    assert found is not None
    assert (found.label, found.seed) == (points[0][1].label, points[0][1].seed)
    assert [e.sample for e in found.examples] == [s.id for s in mini.heldout.samples[:2]]
    for example in found.examples:
        assert [one.keep for one in example.pruned] == [p.keep for _, p in points]
        assert [one.label for one in example.pruned] == [label for label, _ in points]
    assert examples_of(comparison, 0) is None


def test_a_problem_without_pictures_has_none():
    assert examples_of(compare(ZDT1(), ["random"], budget=20, seeds=(0,))) is None
