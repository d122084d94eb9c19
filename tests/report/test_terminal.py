import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from paretoprune.report import display
from paretoprune.report.front import front_table
from paretoprune.report.ranking import finding, narrow_ranking_table
from paretoprune.report.schedule import print_scored
from paretoprune.report.terminal import print_summary, print_written
from paretoprune.schedules import KeepSchedule

NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")


def shown(what, width):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(what)
    return console.file.getvalue()


def printed(summary, width, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(width=width, file=stream, highlight=False)
    print_summary(console, summary)
    print_written(console, Path("out"))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def cells(table):
    """Texts of a table by head."""
    return {column.terminal_heading: list(column.cells) for column in table.columns}


def test_the_ranking_shows_the_figures_of_the_summary(summary):
    table = cells(narrow_ranking_table(summary, 200))
    rows = summary.standings
    assert table["#"] == ["1", "2", "3"]
    assert table["strategy"] == [row.label for row in rows]
    assert table["space"] == [row.space for row in rows]
    assert table["HV"] == [f"{row.hypervolume:.3f}" for row in rows]
    assert table["IGD+"] == [f"{row.igd_plus:.3f}" for row in rows]
    assert table["held-out area"] == [
        f"{row.heldout_area:.3f} [{row.area_low:.2f}, {row.area_high:.2f}]" for row in rows
    ]
    for head, name in (
        ("front", "front_size"), ("evals", "evaluations"), ("cost", "cost"), ("comp", "executed"),
        ("sec", "seconds"),
    ):  # fmt: skip
        assert [float(text) for text in table[head]] == [getattr(row, name) for row in rows]
    assert table[""] == ["", "≈", ""]  # the second is not separated from the first


def test_the_caption_explains_the_mark_and_the_seeds(summary):
    caption = narrow_ranking_table(summary, 80).caption
    assert "≈ not significantly different from the best" in caption
    assert "Mean over 1 to 2 seeds" in caption


def test_without_heldout_data_there_is_a_dash_and_no_verdict(without_heldout):
    table = narrow_ranking_table(without_heldout, 200)
    assert cells(table)["held-out area"] == ["-"] * 3
    assert "" not in cells(table)
    assert "ranked by hypervolume" in table.caption


@pytest.mark.parametrize("width", [40, 80, 100, 132])
@pytest.mark.parametrize(
    "name", ["summary", "without_heldout", "hostile", "three_objectives", "empty"]
)
def test_no_line_is_too_long_and_no_number_is_broken(name, width, request):
    made = request.getfixturevalue(name)
    for table in (narrow_ranking_table(made, width), front_table(made, width=width)):
        text = shown(table.rich(), width)
        assert all(cell_len(line) <= width for line in text.splitlines()), text
        assert "…" not in text
        for head, column in cells(table).items():
            if head in ("strategy", "keep", "knobs"):
                continue
            for cell in column:
                assert cell in text
    assert all(cell_len(line) <= width for line in printed(made, width).splitlines())


@pytest.mark.parametrize("width", [40, 80])
def test_the_indispensable_columns_stay(summary, width):
    heads = cells(narrow_ranking_table(summary, width))
    assert {"#", "strategy", "held-out area", ""} <= set(heads)
    assert width < 80 or {"HV", "IGD+", "front", "evals", "cost"} <= set(heads)


def test_a_long_label_is_broken_behind_its_signs(summary):
    labels = cells(narrow_ranking_table(summary, 40))["strategy"]
    assert labels[1] == "grid:space=\nsingle-step"


def test_the_front_table_shows_scores_errors_and_schedules(summary):
    points = summary.front_of_best()
    table = cells(front_table(summary))
    assert len(points) == 11
    assert table["score"] == [f"{p.search['score']:.3f} ±0.021" for p in points]
    assert table["compute"] == [f"{p.search['compute']:.3f}" for p in points]
    assert table["held-out"] == [f"{p.heldout['score']:.3f} ±0.015" for p in points]
    assert table["keep"][0] == " ".join(f"{100 * k:.0f}" for k in points[0].keep)


def test_a_large_front_is_thinned_evenly(summary):
    points = summary.front_of_best()
    table = front_table(summary, most=4)
    compute = cells(table)["compute"]
    assert len(compute) == 4
    assert compute[0] == f"{points[0].search['compute']:.3f}"
    assert compute[-1] == f"{points[-1].search['compute']:.3f}"
    assert "4 of 11 points" in table.caption


def test_the_finding_is_honest(summary, without_heldout, empty):
    assert finding(summary) == (
        "random has the highest held-out front area, 0.682 [0.66, 0.70]; not significantly "
        "different from grid:space=single-step; significantly different from pymoo-nsga2."
    )
    assert "nothing says whether the difference is more than chance" in finding(without_heldout)
    assert "nothing to rank" in finding(empty)
    alone = summary.model_copy(update={"standings": summary.standings[:1]})
    assert "nothing is compared with it" in finding(alone)


def test_a_cost_that_nothing_lowers_is_named(summary):
    """A GPU takes as long for a small model's pruned prefill as for the dense one."""
    score, compute = summary.objectives
    low = min(p.search["compute"] for p in summary.front)
    none = [score, compute.model_copy(update={"reference": low})]
    assert finding(summary.model_copy(update={"objectives": none})) == (
        f"No evaluated configuration is better than the reference in compute ({low:.3f}), so "
        "every hypervolume is 0 and nothing is ranked by it."
    )
    some = [score, compute.model_copy(update={"reference": low + 1e-6})]
    told = finding(summary.model_copy(update={"objectives": some}))
    assert told == finding(summary)


def test_an_interrupted_comparison_says_so(empty, summary):
    assert "Interrupted: this covers 0 studies" in printed(empty, 80)
    assert "Interrupted" not in printed(summary, 80)


def test_markup_and_escape_sequences_in_names_do_nothing(summary):
    evil = "[red]x[/red]\x1b[31m\n\u202ey"
    rows = [summary.standings[0].model_copy(update={"label": evil})]
    text = printed(summary.model_copy(update={"standings": rows}), 80)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_terminal_without_unicode_gets_plain_signs(summary):
    text = printed(summary, 80, encoding="ascii")
    assert "~ not significantly different" in text
    assert "+-" in text


def test_numbers_of_any_size():
    assert display.number(None) == display.number(float("nan")) == "-"
    assert display.number(-0.0001) == "0.000"
    assert display.amounts([1234.5, 0.5, None]) == ["1234", "0", "-"]
    assert display.amounts([15.94, 2.0]) == ["15.9", "2.0"]
    assert display.amounts([60.0, 7.0]) == ["60", "7"]
    assert display.schedule([1, 0.5, 0]) == "100 50 0"
    assert display.schedule([1.0] * 2 + [0.25] * 30) == "2×100 30×25"


def test_a_scored_schedule_is_printed(capsys):
    scored = SimpleNamespace(
        model="mini-llava", pruner=SimpleNamespace(label="fastv"), split="heldout", samples=64,
        schedule=KeepSchedule.from_ratios([1.0, 0.5]), dense_score=0.9, text_only_score=0.3,
        family={"digit": 0.75}, dense_family={"digit": 0.875}, dense_gflops=0.5,
        dense_kv_bytes=2048.0, preset=None, policy=None, measure="exact match", figures={},
        pictures=70, per_picture=True,
        evaluation=SimpleNamespace(
            metrics={
                "accuracy": 0.8, "gflops": 0.4, "kv_bytes": 1536.0, "samples_left_out": 5.0,
                "pictures_left_out": 7.0,
            },
            objectives={"score": 0.8333, "compute": 0.6}, standard_errors={"score": 0.03},
        ),
    )  # fmt: skip
    print_scored(Console(width=80, highlight=False), scored)
    text = " ".join(capsys.readouterr().out.split())
    for figure in ("held-out", "100 50", "0.800", "0.875", "0.833", "1.5", "0.030"):
        assert figure in text
    assert "at least one of each picture" in text
    assert "last layer: 5 of 64 samples, 7 of 70 pictures" in text


def test_drawing_imports_no_torch():
    code = (
        "import sys, paretoprune.report.terminal, paretoprune.report.html, "
        "paretoprune.report.figures, paretoprune.report.ranking; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
