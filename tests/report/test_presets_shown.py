"""Published presets in tables, figures and the page."""

import io

import pytest
from rich.console import Console

from paretoprune.comparison.results import PresetPoint
from paretoprune.report import presets
from paretoprune.report.figures import front_figure
from paretoprune.report.html import render_html
from paretoprune.report.plots import plots
from paretoprune.report.terminal import print_summary

HOSTILE = "<script>alert(1)</script>"


def point(names, compute, **changes):
    made = {
        "names": names, "about": ["about it"], "keep": [1.0, 0.5],
        "search": {"score": 0.6, "compute": compute}, "search_error": {"score": 0.02},
        "heldout": {"score": 0.55, "compute": compute}, "heldout_error": {"score": 0.02},
        "metrics": {}, "dominated": False, "rival": None, "gain": None, "gain_low": None,
        "gain_high": None, "saved": None,
    }  # fmt: skip
    return PresetPoint(**(made | changes))


def three(first="fastv:k=2,r=0.5"):
    return [
        point([first], 0.05),
        point(["a:1", "a:2"], 0.3, rival=2, gain=0.1, gain_low=0.04, gain_high=0.16,
              dominated=True, saved=0.07),
        point(["b:1"], 0.6, rival=3, gain=0.01, gain_low=-0.02, gain_high=0.04),
    ]  # fmt: skip


@pytest.fixture
def beside(summary):
    return summary.model_copy(update={"presets": three()})


def printed(summary, folder, width=80):
    stream = io.StringIO()
    print_summary(Console(file=stream, width=width, highlight=False), summary)
    return stream.getvalue()


def test_the_terminal_says_what_is_dominated_and_by_how_much(beside, tmp_path):
    text = printed(beside, tmp_path)
    lines = {line.split()[0]: line for line in text.splitlines() if line[:1].isalpha()}
    assert "none" in lines["fastv:k=2,r=0.5"]
    assert "+0.10 [0.04, 0.16]" in lines["a:1"]
    assert "+0.07" in lines["a:1"]
    assert lines["a:1"].rstrip().endswith("yes")
    assert "= 2" in text
    assert "≈" in lines["b:1"]
    assert "≈" not in lines["a:1"]
    assert all(len(line) <= 80 for line in text.splitlines())
    told = "Of 3 published presets, the found front dominates 1 on the search split; held out, at"
    assert told in " ".join(text.split())
    assert "Published presets" not in printed(beside.model_copy(update={"presets": []}), tmp_path)


def test_the_sentence_counts(beside):
    assert presets.presets_finding(beside) == (
        "Of 3 published presets, the found front dominates 1 on the search split; held out, at no "
        "higher cost, it scores higher than 1, level with 1 and lower than 0; 1 is cheaper than "
        "all of it."
    )
    alone = [p.model_copy(update={"gain_low": None, "gain_high": None}) for p in beside.presets]
    one = beside.model_copy(update={"presets": alone[1:2]})
    assert presets.presets_finding(one) == (
        "Of 1 published preset, the found front dominates 1 on the search split."
    )
    assert presets.presets_finding(beside.model_copy(update={"presets": []})) == ""


def test_the_page_has_a_table_and_crosses(beside, summary):
    page = render_html(beside)
    assert ">Published presets</h2>" in page
    assert "a:1 = 2" in page
    assert "about it" in page
    trace = next(t for t in plots(beside)["plot-front"]["data"] if t["name"] == "published presets")
    assert (trace["x"], trace["y"]) == ([0.05, 0.3, 0.6], [0.55] * 3)
    assert "+0.10 [0.04, 0.16]" in trace["hovertext"][1]
    assert ">Published presets</h2>" not in render_html(summary)


def test_the_figure_draws_and_names_them(beside, summary):
    panel = front_figure(beside).axes[0]
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [[0.05], [0.3], [0.6]]
    assert {"fastv", "a", "b"} <= {text.get_text() for text in panel.texts}
    assert not [line for line in front_figure(summary).axes[0].lines if line.get_marker() == "x"]


def test_a_strangers_names_are_escaped(hostile, tmp_path):
    made = [p.model_copy(update={"about": [HOSTILE]}) for p in three(f"{HOSTILE}:1")]
    given = hostile.model_copy(update={"presets": made})
    assert HOSTILE not in render_html(given)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;:1" in render_html(given)
    front_figure(given)
    printed(given, tmp_path)


def test_three_objectives_and_no_held_out_data(three_objectives, tmp_path):
    made = [
        p.model_copy(update={"heldout": None, "search": p.search | {"kv": 1.0}, "gain_low": None})
        for p in three()
    ]
    given = three_objectives.model_copy(update={"presets": made})
    assert "Published presets" in printed(given, tmp_path)
    assert ">Published presets</h2>" in render_html(given)
    front_figure(given)
