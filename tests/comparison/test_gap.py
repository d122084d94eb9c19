"""The relaxation gap: both figures of each returned point, the nearest grid point, the file."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from paretoprune.comparison.compare import compare
from paretoprune.comparison.gap import against, gradients_of, nearest
from paretoprune.comparison.gradients import SplitFigures, read_gradients, write_gradients
from paretoprune.comparison.ranking import hypervolume_of
from paretoprune.comparison.reference import reference_front
from paretoprune.comparison.results import ReferenceFront
from paretoprune.compression.load import load_problem
from paretoprune.errors import BrokenFileError
from paretoprune.report.gradient_plots import (
    MAX_LINES,
    drawn_budgets,
    gap_figure,
    gradient_plots,
    shown_studies,
)
from paretoprune.report.gradients import gap_sentence, gap_table, print_gap
from paretoprune.report.html import render_html
from paretoprune.schedules.kernels.base import on_lattice
from paretoprune.testing.relaxations import ToyPruning


def grid(costs):
    return ReferenceFront(
        name="grid:fine", evaluations=9, costs=costs, hypervolume=0.5, cost=1, executed=1, seconds=1
    )


def measured(found):
    """The study whose points were evaluated twice: that of the best seed."""
    (one,) = [study for study in found.studies if study.points]
    return one


@pytest.fixture(scope="module")
def toy():
    problem = ToyPruning(step_cost=0.2)
    compared = compare(
        problem, ["gradient:max_final_evaluations=5", "random"], budget=30, seeds=(0, 1)
    )
    return problem, compared, gradients_of(problem, compared.studies)


def test_every_point_of_the_best_seed_s_front_is_there(toy):
    _, compared, found = toy
    assert [(s.label, s.seed) for s in found.studies] == [
        ("gradient:max_final_evaluations=5", 0), ("gradient:max_final_evaluations=5", 1)
    ]  # fmt: skip
    searched = compared.studies[:2]
    best = max(range(2), key=lambda i: hypervolume_of(compared.problem, searched[i].evaluations))
    assert [p.trial for p in found.studies[best].points] == sorted(searched[best].front)
    assert found.studies[1 - best].points == []


def test_the_report_draws_the_seed_whose_gap_was_measured(toy):
    """The first seed was drawn, and the gap left out wherever another seed was the best."""
    _, _, found = toy
    (measured,) = [study for study in found.studies if study.points]
    others = [study for study in found.studies if not study.points]
    for studies in ([measured, *others], [*others, measured]):
        shown = shown_studies(found.model_copy(update={"studies": studies}))
        assert shown == [measured]
        assert "plot-gap-0" in gradient_plots(found.model_copy(update={"studies": studies}))


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_the_legend_of_the_picture_is_not_cut_off(toy, panels):
    problem, compared, _ = toy
    reference = reference_front(problem, "grid:coarse")
    found = gradients_of(problem, compared.studies, reference=reference)
    (measured,) = [study for study in found.studies if study.points]
    figure = gap_figure(found.model_copy(update={"studies": [measured] * panels}))
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    box, page = legend.get_window_extent(), figure.bbox
    assert 0 <= box.x0 < box.x1 <= page.x1


def test_the_gap_is_what_rounding_does(toy):
    """On the toy the soft figures have a closed form in the ratios before rounding."""
    _, _, found = toy
    points = [point for study in found.studies for point in study.points]
    assert points
    for point in points:
        before, after = np.array(point.relaxed_keep), np.array(point.keep)
        weights = np.array([0.0, 2.0, 1.5, 1.0])
        lost = (weights * ((1 - after) ** 2 - (1 - before) ** 2)).sum() / weights.sum()
        assert point.score_gap == pytest.approx(-lost, abs=1e-9)
        assert point.compute_gap == pytest.approx(after.mean() - before.mean(), abs=1e-9)
        assert np.abs(before - after).max() <= 0.005 + 1e-9  # a lattice of 100 levels


@pytest.mark.parametrize(
    "strategy", ["adaptive:max_final_evaluations=5", "vispco:max_final_evaluations=5"]
)
def test_policies_have_a_gap_too(strategy):
    """They had none: what they keep is of each sample, and was nowhere written down."""
    problem = ToyPruning(step_cost=0.2)
    compared = compare(problem, [strategy], budget=30, seeds=(0,))
    (study,) = compared.studies
    found = measured(gradients_of(problem, compared.studies))
    assert [p.trial for p in found.points] == sorted(study.front)
    for point in found.points:
        policy = study.evaluations[point.trial].candidate.policy
        before, after = (problem.relaxation().asked(policy, rounded=r) for r in (False, True))
        assert np.abs(before - after).max() > 0
        lost = problem.losses(after).mean() - problem.losses(before).mean()
        assert point.score_gap == pytest.approx(-lost / 4.5, abs=1e-9)
        assert point.compute_gap == pytest.approx(after.mean() - before.mean(), abs=1e-9)
        assert point.relaxed_keep == pytest.approx(before.mean(0).tolist())
        assert point.keep == pytest.approx(after.mean(0).tolist())


def test_no_gradient_study_has_no_record():
    compared = compare(ToyPruning(), ["random"], budget=5, seeds=(0,))
    assert gradients_of(compared.problem, compared.studies) is None


def test_the_nearest_grid_point_and_what_the_grid_reaches_at_no_more_compute():
    rows = np.array([[0.2, 0.1], [0.7, 0.5], [0.9, 0.8]])
    found = nearest(SplitFigures(score=0.6, compute=0.6, kl=0, lost=0), rows)
    assert (found.score, found.compute) == (0.7, 0.5)
    assert found.distance == pytest.approx(np.hypot(0.1, 0.1))
    assert found.ahead == pytest.approx(0.1)
    assert nearest(SplitFigures(score=0.6, compute=0.05, kl=0, lost=0), rows).ahead is None


def test_a_grid_of_the_points_themselves_is_at_no_distance(toy):
    _, _, found = toy
    costs = [[1 - p.hard.score, p.hard.compute] for p in measured(found).points]
    for point in measured(against(found, grid(costs))).points:
        assert point.grid.distance == pytest.approx(0, abs=1e-9)
        assert point.grid.ahead >= -1e-9


def test_the_record_survives_the_disk_and_a_broken_one_is_named(toy, tmp_path):
    _, _, found = toy
    write_gradients(tmp_path, found)
    assert read_gradients(tmp_path) == found
    (tmp_path / "gradients.json").write_text('{"studies": 3}')
    with pytest.raises(BrokenFileError, match=r"gradients.json: studies"):
        read_gradients(tmp_path)
    (tmp_path / "gradients.json").unlink()
    assert read_gradients(tmp_path) is None


def test_table_sentence_and_page_say_the_same(toy):
    _, compared, found = toy
    gridded = against(found, grid([[0.5, 0.5]]))
    study = measured(gridded)
    table = gap_table(study, gridded=True)
    columns = {column.heading: column.cells for column in reversed(table.columns)}
    assert len(columns["to grid"]) == len(study.points)
    assert columns["hard"] == [f"{p.hard.score:.3f}" for p in sorted(
        study.points, key=lambda p: p.hard.compute)]  # fmt: skip
    page = render_html(compared.summary, gradients=gridded)
    assert gap_sentence(study) in page
    for name in ("gap", "loss", "constraint", "multiplier", "kept"):
        assert f'id="plot-{name}-0"' in page
        assert f'"plot-{name}-0":' in page
    assert render_html(compared.summary) == render_html(compared.summary, gradients=None)


def test_no_cell_is_cut_at_eighty_columns(toy):
    """With a grid, compute ended in an ellipsis, and the keep schedules had no room at all."""
    _, _, found = toy
    gridded = against(found, grid([[0.5, 0.5]]))
    console = Console(width=80, file=io.StringIO())
    print_gap(console, gridded)
    told = console.file.getvalue()
    assert "…" not in told
    (study,) = [study for study in gridded.studies if study.points]
    for column in gap_table(study, gridded=True).columns:
        assert all(cell in told for cell in column.cells)


def test_warnings_reach_the_page_escaped(toy):
    _, compared, found = toy
    study = found.studies[0].model_copy(
        update={"label": "<script>alert(1)</script>", "warnings": ["<b>x</b>"]}
    )
    page = render_html(compared.summary, gradients=found.model_copy(update={"studies": [study]}))
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


@pytest.fixture(scope="module")
def problem():
    return load_problem(search_size=16, heldout_size=0)


def test_without_pruning_there_is_no_gap(problem):
    """All tokens kept: the soft decoder is the dense one."""
    found = problem.relaxation().figures(np.ones(8), tau=2.0)
    assert found.score == pytest.approx(1.0, abs=1e-6)
    assert found.compute == pytest.approx(1.0)
    assert found.divergence == pytest.approx(0.0, abs=1e-3)


def test_sharp_masks_on_the_lattice_are_the_pruned_decoder(problem):
    """As tau falls, soft masks become hard ones: the relaxed figures become the evaluation's."""
    ratios = np.array([18, 18, 9, 9, 9, 4, 4, 4]) / 18
    soft = problem.relaxation().figures(ratios, tau=0.01)
    hard = problem.evaluate([problem.relaxation().candidate(ratios)])[0]
    assert soft.score == pytest.approx(hard.objectives["score"], abs=1e-6)
    assert soft.divergence == pytest.approx(hard.metrics["kl_to_dense"], rel=0.02, abs=0.02)
    assert soft.loss == pytest.approx(hard.metrics["lost_to_dense"], abs=0.02)
    ranking = hard.objectives["compute"] - soft.compute
    assert 0 < ranking < 0.02  # the relaxed compute leaves ranking out


def test_each_sample_may_have_ratios_of_its_own():
    """Half of the samples under one schedule and half under another: the mean of both halves."""
    problem = load_problem(search_size=16, heldout_size=0, batch=3)  # rows meet their own sample
    relaxed = problem.relaxation()
    cheap, dear = (np.array([1.0, *[keep] * 7]) for keep in (0.2, 0.7))
    first = np.arange(relaxed.samples) < relaxed.samples // 2
    one = relaxed.figures(np.where(np.arange(16)[:, None] == 15, cheap, dear), tau=2.0)
    rows = torch.from_numpy(np.stack([cheap, dear]))
    each = relaxed.loss(
        rows.repeat(16, 1), np.repeat(np.arange(16), 2), tau=2.0, straight_through=False
    ).reshape(16, 2)
    assert one.divergence == pytest.approx(float(each[:15, 1].sum() + each[15, 0]) / 16, abs=1e-4)
    mixed = relaxed.figures(np.where(first[:, None], cheap, dear), tau=2.0)
    other = relaxed.figures(np.where(first[:, None], dear, cheap), tau=2.0)
    alone = [relaxed.figures(row, tau=2.0) for row in (cheap, dear)]
    assert mixed.score != other.score
    for name in ("score", "compute", "divergence", "loss"):
        both = (getattr(mixed, name) + getattr(other, name)) / 2
        assert both == pytest.approx(sum(getattr(a, name) for a in alone) / 2, abs=1e-5), name


def test_a_policy_is_asked_off_its_lattice(problem):
    """Rounded, its decisions are those that it is evaluated by."""
    found = problem.policy_candidate("autoprune", tokens=0.6)
    fine = problem.relaxation().decisions(found.policy)
    assert fine.shape == (16, 8)
    assert (
        np.abs(fine * problem.tokens.levels - np.round(fine * problem.tokens.levels)).max() > 0.05
    )
    rounded = problem.configuration(found).ratios
    assert np.array_equal(on_lattice(fine, problem.tokens.levels), rounded)


@pytest.mark.slow
def test_the_command_prints_the_table_and_measures_a_grid(tmp_path, monkeypatch):
    from paretoprune.cli import app

    monkeypatch.chdir(tmp_path)
    small = ["--search-size", "16", "--heldout-size", "8", "--levels", "3"]
    runner = CliRunner()
    found = runner.invoke(
        app,
        ["search", "gradient:inner_steps=2,max_final_evaluations=4", "--budget", "30",
         "--out", "r", *small],
        catch_exceptions=False,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    before = runner.invoke(app, ["report", "r", "--gap"], catch_exceptions=False)
    assert "hard minus soft score" in before.output
    assert "nearest point of the exhaustive front" not in before.output
    after = runner.invoke(
        app, ["report", "r", "--gap", "--reference", "grid:coarse"], catch_exceptions=False
    )
    assert "nearest point of the exhaustive front" in after.output
    stored = json.loads((tmp_path / "r" / "gradients.json").read_text())
    assert stored["reference"] == "grid:coarse"
    assert (tmp_path / "r" / "gap.png").stat().st_size > 1000


def test_the_command_refuses_a_folder_without_a_gradient_search(tmp_path, monkeypatch):
    from paretoprune.cli import app
    from paretoprune.comparison.results import write_results
    from paretoprune.errors import UnsupportedError

    compared = compare(ToyPruning(), ["random"], budget=5, seeds=(0,))
    write_results(tmp_path / "r", compared.summary)
    with pytest.raises(UnsupportedError, match="holds no gradient search"):
        CliRunner().invoke(app, ["report", str(tmp_path / "r"), "--gap"], catch_exceptions=False)


def test_the_reference_of_a_comparison_is_used(toy):
    problem, compared, _ = toy

    small = type("Small", (ToyPruning,), {})()
    small.spaces = {"small": problem.spaces["small"], **problem.spaces}
    small.kernels = {**problem.kernels, "small": type(problem.kernels["free"])(4, 10)}
    reference = reference_front(small, "grid:fine")
    found = gradients_of(problem, compared.studies, reference=reference)
    assert found.reference == "grid:fine"
    # the grid's lattice has ten levels, the search's a hundred: close, and never far ahead
    assert all(p.grid.distance < 0.1 for s in found.studies for p in s.points)


@pytest.mark.parametrize("count", [1, 2, MAX_LINES, 16, 33])
def test_lines_of_many_budgets_are_thinned_evenly_with_both_ends(count):
    drawn = drawn_budgets(count)
    assert len(drawn) == len(set(drawn)) == min(count, MAX_LINES)
    assert (drawn[0], drawn[-1]) == (0, count - 1)
    assert len(drawn) < 3 or np.ptp(np.diff(drawn)) <= 1
