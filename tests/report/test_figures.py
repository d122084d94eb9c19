import numpy as np
import pytest
from PIL import Image

from paretoprune.report import series
from paretoprune.report.figures import front_figure, write_front_png
from paretoprune.report.palette import COLOURS, look, looks

ALL = ["summary", "without_heldout", "hostile", "three_objectives", "empty"]


def test_axes_are_labelled_and_say_which_way_is_better(summary):
    left, right = front_figure(summary).axes
    assert left.get_xlabel() == "relative compute u, lower is better"
    assert left.get_ylabel() == "relative score q, higher is better"
    assert left.get_title() == "Fronts, held-out data"
    assert right.get_xlabel() == "search cost (dense-pass equivalents)"
    assert right.get_ylabel() == "hypervolume, search split"


def test_the_split_and_the_missing_objective_are_named(without_heldout, three_objectives):
    assert front_figure(without_heldout).axes[0].get_title() == "Fronts, search split"
    title = front_figure(three_objectives).axes[0].get_title()
    assert title == "Fronts, search split, compute"


def test_every_strategy_and_the_union_front_are_in_the_legend(summary):
    (legend,) = front_figure(summary).legends
    texts = {text.get_text() for text in legend.get_texts()}
    assert texts == {"union front", *(row.label for row in summary.standings)}


@pytest.mark.parametrize("name", ALL)
def test_the_png_can_be_read(name, request, tmp_path):
    file = tmp_path / "front.png"
    write_front_png(request.getfixturevalue(name), file)
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == (1650, 750)


def test_names_are_no_formulas(summary, tmp_path):
    rows = [s.model_copy(update={"label": r"_$\broken$"}) for s in summary.studies]
    points = [p.model_copy(update={"label": r"_$\broken$"}) for p in summary.front]
    made = summary.model_copy(update={"studies": rows, "front": points})
    write_front_png(made, tmp_path / "front.png")
    (legend,) = front_figure(made).legends
    assert len(legend.get_texts()) == 2


def test_a_maximised_objective_is_on_the_y_axis(summary):
    axes = series.axes(summary)
    assert (axes.x.name, axes.y.name) == ("compute", "score")
    flipped = summary.model_copy(update={"objectives": summary.objectives[::-1]})
    assert series.axes(flipped) == axes
    alone = summary.model_copy(update={"objectives": summary.objectives[:1]})
    assert series.axes(alone) is None
    front_figure(alone).canvas.draw()


def test_points_are_joined_in_the_order_of_the_search_split(summary):
    axes = series.axes(summary)
    points = [p for p in summary.front if p.label == "random" and p.seed == 0]
    drawn = series.drawn(points[::-1], axes)
    assert [p.search["compute"] for p, _, _ in drawn] == sorted(p.search["compute"] for p in points)
    assert [y for _, _, y in drawn] == [p.heldout["score"] for p, _, _ in drawn]


def test_the_best_seed_is_chosen_on_the_search_split(summary):
    rows = [
        s.model_copy(update={"heldout_area": 1.0 - s.seed, "hypervolume": 0.1 + s.seed})
        for s in summary.studies
    ]
    assert series.best_seed(summary.model_copy(update={"studies": rows}), "random") == 1


def test_the_anytime_band_starts_where_all_seeds_have_a_point(summary):
    first, second = (s for s in summary.studies if s.label == "random")
    first = first.model_copy(update={"curve": [(1.0, 0.1), (3.0, 0.3)]})
    second = second.model_copy(update={"curve": [(2.0, 0.2), (4.0, 0.6)]})
    band = series.anytime([first, second])
    assert band.cost == [2.0, 3.0, 4.0]
    np.testing.assert_allclose(band.low, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(band.high, [0.2, 0.3, 0.6])
    np.testing.assert_allclose(band.median, [0.15, 0.25, 0.45])
    assert series.anytime([]).cost == []


def test_looks_do_not_depend_on_the_ranking(summary):
    turned = summary.model_copy(update={"standings": summary.standings[::-1]})
    assert looks(turned) == looks(summary)
    assert len({look(i) for i in range(56)}) == 56
    assert len(set(COLOURS)) == len(COLOURS)
