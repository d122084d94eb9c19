"""Exhaustive reference fronts on problems whose fronts are known."""

import numpy as np
import pytest

from paretoprune import frontier
from paretoprune.comparison.compare import compare
from paretoprune.comparison.reference import parse_reference, reference_candidates, reference_front
from paretoprune.compression.analytic import ZDT1
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.testing.strategies import STEPPED, Toy


def test_names():
    assert parse_reference("grid:fine") == ("grid", "fine")
    assert parse_reference("grid") == ("grid", "fine")
    with pytest.raises(UnknownNameError, match="reference 'gird'"):
        parse_reference("gird:fine")
    with pytest.raises(UnknownNameError, match="reference grid 'finer'"):
        parse_reference("grid:finer")


def test_the_fine_grid_is_every_point_once_and_the_coarse_a_part_of_it():
    toy = Toy(STEPPED)
    fine = {c.key for c in reference_candidates(toy, "fine")}
    coarse = {c.key for c in reference_candidates(toy, "coarse")}
    assert len(fine) == STEPPED.size
    assert coarse < fine


def test_no_search_beats_it_and_all_distances_refer_to_it():
    toy = Toy(STEPPED)
    found = reference_front(toy, "grid:fine")
    everything = frontier.normalise(
        [[e.objectives[o.name] for o in toy.objectives] for e in found.evaluations],
        toy.objectives,
    )
    assert frontier.hypervolume(found.costs) == pytest.approx(frontier.hypervolume(everything))
    summary = compare(toy, ["random"], budget=30.0, seeds=[0], reference=found).summary
    (row,) = summary.studies
    assert row.epsilon >= 0
    front = frontier.normalise(np.array(row.points), toy.objectives)
    kept = front[frontier.nondominated(front)]
    assert row.igd_plus == pytest.approx(frontier.igd_plus(kept, found.costs))
    assert summary.reference.evaluations == STEPPED.size
    assert summary.reference.hypervolume >= row.hypervolume


def test_the_embedded_models_grid_has_over_two_thousand_schedules(mini):
    candidates = reference_candidates(mini, "fine")
    assert len(candidates) > 2000
    assert len({mini.identity(c) for c in candidates}) == len(candidates)


def test_knobs_without_steps_are_refused():
    with pytest.raises(InvalidValueError, match="has none"):
        reference_front(ZDT1())
