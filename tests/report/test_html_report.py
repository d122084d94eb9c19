import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest

from paretoprune.comparison.results import write_results
from paretoprune.report import display, series
from paretoprune.report.glossary import subject
from paretoprune.report.html import render_html, write_html
from paretoprune.report.page import embedded_json
from paretoprune.report.plots import hover, plots

MAX_BYTES = 6_000_000
ALL = ["summary", "without_heldout", "hostile", "three_objectives", "empty"]
ATTACKS = ("<script>alert", "<img", "</script><script>", "onerror=alert(1)>")


class Page(HTMLParser):
    """What a browser makes of the page: elements, texts by section, scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.texts, self.ids = [], [], [], []
        self.references, self.handlers = [], []
        self._script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.references.append(value)
            if name.startswith("on"):
                self.handlers.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


@pytest.mark.parametrize("name", ALL)
def test_the_page_stands_alone(name, request):
    text = render_html(request.getfixturevalue(name))
    page = Page(text)
    assert all(
        r.startswith(("data:text/csv;base64,", "data:application/json;base64,", "#"))
        for r in page.references
    )
    assert page.handlers == []
    assert len(text.encode()) < MAX_BYTES
    assert page.tags.count("script") == 3
    assert page.tags.count("h1") == 1
    assert "{{" not in page.text and "{%" not in page.text  # no placeholder is left
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("name", ALL)
def test_only_the_page_s_own_scripts_are_allowed(name, request):
    text = render_html(request.getfixturevalue(name))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe-inline'" not in policy
    _, *scripts = Page(text).scripts  # the first is data
    for script in filter(None, scripts):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_every_standing_is_on_the_page(summary):
    text = Page(render_html(summary)).text
    for row in summary.standings:
        assert row.label in text
        assert f"{row.hypervolume:.3f}" in text
        assert f"{row.heldout_area:.3f} [{row.area_low:.2f}, {row.area_high:.2f}]" in text
    for study in summary.studies:
        assert f"{study.heldout_area:.3f}" in text
        assert f"{study.hypervolume:.3f}" in text
    assert "not significantly different from grid:space=single-step" in text
    assert "3 search strategies compared on mini-llava (tokens with fastv)" in text
    for title in ("Ranking", "Fronts, held-out data", "Best front", "Settings and versions"):
        assert title in text


def test_the_best_front_is_in_the_table(summary):
    text = Page(render_html(summary)).text
    for point in summary.front_of_best():
        assert f"{point.search['score']:.3f} ±0.021" in text
        assert " ".join(f"{100 * k:.0f}" for k in point.keep) in text


def test_nothing_hostile_is_left_unescaped(hostile):
    text = render_html(hostile)
    page = Page(text)
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    body = text.split(page.scripts[1])[0]  # all before plotly.js
    for attack in ATTACKS:
        assert attack not in body
    assert "<script>alert(1)</script>" in page.text  # it is there to be read
    assert all(sign not in page.scripts[0] for sign in "<>&")


def test_plot_texts_are_escaped_too(hostile):
    for spec in plots(hostile).values():
        for trace in spec["data"]:
            texts = [trace.get("name", ""), *flat(trace.get("hovertext", []))]
            for text in texts:
                markup = set(re.findall(r"<[^>]*>", text))
                assert markup <= {"<b>", "</b>", "<br>"}


def flat(texts):
    return [t for text in texts for t in (text if isinstance(text, list) else [text])]


def test_embedded_json_ends_no_script_and_reads_back():
    value = {"a": "</script><!--", "b": [1.5, None], "c": "&\u2028"}
    text = embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize("name", ALL)
def test_plotly_accepts_every_plot(name, request):
    for spec in plots(request.getfixturevalue(name)).values():
        layout = {k: v for k, v in spec["layout"].items() if not k.endswith("_narrow")}
        go.Figure(data=spec["data"], layout=layout)


def test_every_plot_has_its_place_and_an_alternative_text(summary):
    text = render_html(summary)
    ids = Page(text).ids
    drawn = plots(summary)
    assert set(drawn) == {
        "plot-front", "plot-curves", "plot-schedules", "plot-attainment", "plot-parts",
    }  # fmt: skip
    for name in drawn:
        assert name in ids
        assert re.search(rf'id="{name}" role="img" aria-label="[^"]+"', text)


def test_the_front_plot_holds_every_heldout_point(summary):
    drawn = {
        (x, y)
        for trace in plots(summary)["plot-front"]["data"][1:]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    }
    assert drawn == {(p.heldout["compute"], p.heldout["score"]) for p in summary.front}


def test_hovering_tells_the_point(summary):
    point = summary.front[0]
    text = hover(point, summary)
    assert f"score {point.search['score']:.3f} ±0.021" in text
    assert f"held-out {point.heldout['score']:.3f} ±0.015" in text
    assert "seed 0" in text
    assert "keep 100" in text


def test_the_heat_map_has_a_cell_per_layer_and_point(summary):
    (heat,) = plots(summary)["plot-schedules"]["data"]
    points = summary.front_of_best()
    assert heat["z"] == [[100 * k for k in point.keep] for point in points]


def test_without_schedules_there_is_no_heat_map(three_objectives):
    assert "plot-schedules" not in plots(three_objectives)


def test_every_further_objective_has_a_figure_of_its_own(three_objectives):
    drawn = plots(three_objectives)
    assert "plot-front-3" in drawn
    page = Page(render_html(three_objectives))
    assert "Fronts, search split, kv" in page.text
    assert "plot-front-3" in page.ids
    assert all(trace["mode"] == "markers" for trace in drawn["plot-front-3"]["data"])
    shown = {x for trace in drawn["plot-front-3"]["data"] for x in trace["x"]}
    assert shown == {p.search["kv"] for p in three_objectives.front}


def test_attainment_of_three_objectives_is_what_seeds_reach(three_objectives):
    """Every corner is attained, in all three objectives, by as many seeds as it says."""
    axes = series.axes(three_objectives)
    label = three_objectives.front[0].label
    points = {}
    for p in three_objectives.front:
        if p.label == label:
            points.setdefault(p.seed, []).append(p.search)
    surfaces = series.attainments(three_objectives, label, axes)
    assert [(s.what, s.limit is None) for s in surfaces] == [
        ("median", True), ("worst", True), ("median", False),
    ]  # fmt: skip
    for surface in surfaces:
        least = len(points) if surface.what == "worst" else (len(points) + 1) // 2
        most = math.inf if surface.limit is None else surface.limit
        for x, y in surface.corners:
            reached = sum(
                any(p["compute"] <= x and p["score"] >= y and p["kv"] <= most for p in front)
                for front in points.values()
            )
            assert reached >= least
    free, _, limited = surfaces
    assert max(x for x, _ in limited.corners) < max(x for x, _ in free.corners)


def test_a_fourth_objective_has_no_attainment(three_objectives):
    more = [*three_objectives.objectives, three_objectives.objectives[-1].model_copy(
        update={"name": "ms"})]  # fmt: skip
    summary = three_objectives.model_copy(update={"objectives": more})
    assert series.attainments(summary, summary.front[0].label, series.axes(summary)) == []


def test_the_contents_lead_to_every_section(summary):
    text = render_html(summary)
    page = Page(text)
    links = [r for r in page.references if r.startswith("#")]
    assert len(links) == text.count("<h2") == len(set(links))
    assert all(link.removeprefix("#") in page.ids for link in links)


def test_the_file_is_the_page(summary, tmp_path):
    write_html(summary, tmp_path / "a" / "report.html")
    assert (tmp_path / "a" / "report.html").read_text("utf-8") == render_html(summary)


def test_every_pair_is_a_line_with_its_verdict(summary):
    text = render_html(summary)
    assert len(summary.pairs) == 3
    section = text.split("Every strategy against every other</h2>", 1)[1].split("</section>")[0]
    assert section.count("<tr>") == 1 + len(summary.pairs)
    for pair in summary.pairs:
        verdict = "significant" if pair.separated else "not significant"
        assert f">{verdict}</td>" in section
    assert "Every strategy against every other" not in render_html(
        summary.model_copy(update={"pairs": []})
    )


def test_attainment_is_drawn_where_there_are_several_seeds(summary):
    drawn = plots(summary)["plot-attainment"]["data"]
    several = [row.label for row in summary.standings if len(row.seeds) > 1]
    assert [t["name"] for t in drawn if t["showlegend"]] == several
    lone = [p for p in summary.front if p.seed == summary.front[0].seed]
    assert "plot-attainment" not in plots(summary.model_copy(update={"front": lone}))
    for median, worst in zip(drawn[::2], drawn[1::2], strict=True):
        for x, y in zip(worst["x"], worst["y"], strict=True):
            # what all seeds reach, half of them do: a median point is as cheap and as good
            assert any(a <= x and b >= y for a, b in zip(median["x"], median["y"], strict=True))


def test_the_families_are_rows_and_the_dense_model_is_last(summary):
    (heat,) = plots(summary)["plot-parts"]["data"]
    points = summary.front_of_best()
    assert heat["x"] == [*(str(n + 1) for n in range(len(points))), "dense"]
    assert heat["y"] == ["&lt;b&gt;digit&lt;/b&gt;", "counting"]
    percent = [*(100 * point.parts["counting"] for point in points), 90.0]
    assert heat["z"][1] == pytest.approx(percent)
    bare = [point.model_copy(update={"parts": {}}) for point in summary.front]
    assert "plot-parts" not in plots(summary.model_copy(update={"front": bare}))


def test_the_downloads_are_the_files_themselves(summary, tmp_path):
    write_results(tmp_path, summary)
    text = render_html(summary)
    found = dict(re.findall(r'<a download="([^"]*)" href="data:[a-z/]*;base64,([^"]*)"', text))
    assert set(found) == {"front.csv", "comparison.json"}
    for name, data in found.items():
        assert base64.b64decode(data) == (tmp_path / name).read_bytes()


def test_a_file_too_large_for_the_page_is_only_named(summary, monkeypatch):
    monkeypatch.setattr("paretoprune.report.page.MAX_BYTES", 10)
    text = render_html(summary)
    assert "<a download" not in text and "comparison.json: everything; too large" in text


def test_hovering_shows_the_schedule_as_a_bar_per_layer(summary):
    point = summary.front_of_best()[0].model_copy(update={"keep": [1.0, 0.5, 0.01, 0.0]})
    assert display.layer_chart([1.0, 0.5, 0.01, 0.0]) == "\u2588\u2584\u2581 "
    assert "\u2588\u2584\u2581\u00b7<br>" in hover(point, summary)


def test_the_title_names_the_techniques(summary):
    """A search of weights alone was headed `compression`."""
    techniques = {"tokens": {}, "weight_bits": {}}
    problem = {"problem": "compression", "model": "mini-llava", "techniques": techniques}
    with_tokens = summary.model_copy(update={"problem": problem | {"pruner": "dart"}})
    assert subject(with_tokens) == "mini-llava (tokens, weight_bits with dart)"
    alone = summary.model_copy(update={"problem": problem | {"techniques": {"kv_bits": {}}}})
    assert subject(alone) == "mini-llava (kv_bits)"
