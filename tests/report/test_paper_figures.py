"""Figures for papers, and strategies ranked over several results folders."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image
from typer.testing import CliRunner

from paretoprune.cli import app
from paretoprune.comparison.results import write_results
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.report.figures import WIDTHS_INCHES, write_figures, write_rank_diagram
from paretoprune.report.overview import rank_problems, ranks_sentence

NAMES = ["front", "attainment", "anytime", "schedules"]


@pytest.mark.parametrize("columns", ["single", "double"])
def test_every_figure_has_the_width_of_its_columns(summary, tmp_path, columns):
    files = write_figures(summary, tmp_path, formats=["png"], columns=columns)
    assert [file.stem for file in files] == NAMES
    for file in files:
        with Image.open(file) as image:
            assert image.size[0] == pytest.approx(300 * WIDTHS_INCHES[columns], abs=1)


def test_text_stays_text_and_the_same_results_give_the_same_files(summary, tmp_path):
    before = dict(mpl.rcParams)
    for folder in ("a", "b"):
        write_figures(summary, tmp_path / folder, formats=["pdf", "svg"])
    for name in NAMES:
        for kind in ("pdf", "svg"):
            one, other = (tmp_path / folder / f"{name}.{kind}" for folder in ("a", "b"))
            assert one.read_bytes() == other.read_bytes()
        assert b"/Type3" not in (tmp_path / "a" / f"{name}.pdf").read_bytes()
    svg = (tmp_path / "a" / "front.svg").read_text()
    texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    assert "relative compute u, lower is better" in texts
    assert all(row.label in texts for row in summary.standings)
    assert dict(mpl.rcParams) == before


def test_three_objectives_and_nothing_at_all(three_objectives, empty, tmp_path):
    found = write_figures(three_objectives, tmp_path, formats=["svg"])
    assert [file.stem for file in found] == ["front", "attainment", "anytime"]
    one_seed = [p for p in three_objectives.front if p.seed == 0]
    fewer = three_objectives.model_copy(update={"front": one_seed})
    found = write_figures(fewer, tmp_path / "fewer", formats=["svg"])
    assert "attainment" not in [file.stem for file in found]
    with pytest.raises(InvalidValueError, match="nothing to draw"):
        write_figures(empty, tmp_path)


def test_unknown_formats_and_widths_name_the_nearest(summary, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'pdf'"):
        write_figures(summary, tmp_path, formats=["pfd"])
    with pytest.raises(UnknownNameError, match="Did you mean 'single'"):
        write_figures(summary, tmp_path, columns="singl")
    assert not list(tmp_path.iterdir())


def reordered(summary, labels):
    """The summary with other areas: the first label has the largest."""
    areas = {label: 0.9 - 0.1 * place for place, label in enumerate(labels)}
    rows = [r.model_copy(update={"heldout_area": areas[r.label]}) for r in summary.standings]
    return summary.model_copy(update={"standings": rows})


def test_ranks_over_folders_are_those_of_the_areas(summary):
    a, b, c = (row.label for row in summary.standings)
    orders = [(a, b, c), (a, c, b), (b, a, c)]
    results = [(Path(f"p{i}"), reordered(summary, order)) for i, order in enumerate(orders)]
    found = rank_problems(results)
    assert found.criterion == "held-out front area"
    assert dict(zip(found.ranks.labels, found.ranks.ranks, strict=True)) == {
        a: (1, 1, 2), b: (2, 3, 1), c: (3, 2, 3)
    }  # fmt: skip
    assert "not significantly different: " in ranks_sentence(found)


def test_only_strategies_of_all_folders_are_ranked(summary, empty):
    fewer = summary.model_copy(update={"standings": summary.standings[:2]})
    found = rank_problems([(Path("a"), summary), (Path("b"), fewer)])
    assert found.left_out == (summary.standings[2].label,)
    with pytest.raises(InvalidValueError, match="at least 2 results folders, got 1"):
        rank_problems([(Path("a"), summary)])
    with pytest.raises(InvalidValueError, match="all folders have, got none"):
        rank_problems([(Path("a"), summary), (Path("b"), empty)])


def test_the_commands_write_what_they_say(summary, tmp_path):
    for folder in ("a", "b"):
        write_results(tmp_path / folder, summary)
    folders = [str(tmp_path / f) for f in ("a", "b")]
    drawn = CliRunner().invoke(
        app, ["report", folders[0], "--figures", str(tmp_path / "figures"), "--format", "png,pdf"]
    )
    assert drawn.exit_code == 0, drawn.output
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(NAMES)
    ranked = CliRunner().invoke(app, ["rank", *folders, "--out", str(tmp_path / "cd.svg")])
    assert ranked.exit_code == 0, ranked.output
    text = (tmp_path / "cd.svg").read_text()
    assert all(row.label in text for row in summary.standings)


def test_the_diagram_of_many_strategies_can_be_drawn(tmp_path):
    from paretoprune.frontier import rank_over_problems

    scores = [[float((7 * i + 3 * j) % 11) for j in range(11)] for i in range(6)]
    ranks = rank_over_problems(scores, [f"strategy-{j}" for j in range(11)])
    write_rank_diagram(ranks, tmp_path / "cd.png")
    with Image.open(tmp_path / "cd.png") as image:
        image.load()
    with pytest.raises(UnknownNameError, match="'gif'"):
        write_rank_diagram(ranks, tmp_path / "cd.gif")
