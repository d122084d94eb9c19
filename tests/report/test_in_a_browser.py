"""The report in headless Chromium: no errors, hover, keys, slider, hostile names, three widths.

Needs the extra `browser` (playwright) and a Chromium of the system; skipped where one is missing.
"""

from __future__ import annotations

import base64
import io
import shutil
from itertools import pairwise

import pytest
from PIL import Image

from paretoprune.compression.kept import Example, Examples, Pruned, SeenAs, Step
from paretoprune.report.html import write_html

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra 'browser'")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a chromium on the PATH")

WIDTHS = (380, 820, 1400)
PLOTTED = "Object.keys(JSON.parse(document.getElementById('plots').textContent))"


@pytest.fixture
def examples():
    """One picture of 16 tokens, dropped in two steps of eight layers, under two schedules."""
    stream = io.BytesIO()
    Image.new("RGB", (96, 96), "teal").save(stream, "PNG")
    steps = [
        Step(layer=n, kept=list(range(kept)), merged=[]) for n, kept in ((0, 16), (2, 8), (5, 1))
    ]
    one = Pruned(label="one", pruner="fastv", keep=[1.0] * 8, steps=steps, answer="red", right=True)
    boxes = [(r / 4, c / 4, (r + 1) / 4, (c + 1) / 4) for r in range(4) for c in range(4)]
    example = Example(
        question="which colour ?", answer="red", family="attribute", model="mini-llava",
        pictures=[base64.b64encode(stream.getvalue())], views=[SeenAs(picture=0)], view=[0] * 16,
        boxes=boxes, dense_answer="red", dense_right=True, pruned=[one, one],
    )  # fmt: skip
    return Examples(label="tpe", seed=0, examples=[example])


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of a summary; the test fails for whatever the console says or asks for."""
    complaints, pages = [], []

    def open_page(summary, examples=None, width=1000, scheme="light"):
        file = tmp_path / "report.html"
        write_html(summary, file, examples)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: complaints.append(r.url) if r.url != file.as_uri()
                and not r.url.startswith(("data:", "blob:")) else None)  # fmt: skip
        page.goto(file.as_uri())
        page.wait_for_function(
            f"{PLOTTED}.every(id => document.querySelector(`#${{id}} .main-svg`))"
        )
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(opened, summary, width, scheme):
    page = opened(summary, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for plot in page.query_selector_all(".plot"):
        box = plot.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, back.removeprefix("rgb(").removesuffix(")").split(","))) > 384
    assert light == (scheme == "light")


def test_pointing_at_a_point_tells_its_schedule(opened, summary):
    page = opened(summary)
    plot = page.locator("#plot-front")
    plot.scroll_into_view_if_needed()
    point = plot.locator(".points path").last
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = plot.locator(".hoverlayer .hovertext")
    told.wait_for()
    text = told.first.text_content()
    assert "keep 100" in text and "held-out" in text and "█" in text


def test_arrow_keys_walk_through_the_points(opened, summary):
    page = opened(summary)
    plot = page.locator("#plot-front")
    plot.focus()
    told = page.locator("#plot-front + .unseen-text")
    page.keyboard.press("ArrowRight")
    first = told.text_content()
    plot.locator(".hoverlayer .hovertext").first.wait_for()
    page.keyboard.press("ArrowRight")
    second = told.text_content()
    assert first != second
    assert first.startswith(summary.front[0].label) and "score" in second
    page.keyboard.press("ArrowLeft")
    assert told.text_content() == first
    page.keyboard.press("Escape")
    assert told.text_content() == ""


def test_arrow_keys_walk_through_the_heat_map(opened, summary):
    page = opened(summary)
    page.locator("#plot-schedules").focus()
    told = page.locator("#plot-schedules + .unseen-text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert told.text_content().startswith("layer 1: ")
    page.keyboard.press("ArrowUp")
    assert "; 2: score" in told.text_content()


def test_hostile_names_are_text(opened, hostile):
    page = opened(hostile)
    assert "<script>alert(1)</script>" in page.inner_text("main")
    assert page.locator("img").count() == 0
    plot = page.locator("#plot-front")
    assert "alert(1)" in plot.locator(".legend").text_content()
    page.locator("#plot-front").focus()
    page.keyboard.press("ArrowRight")
    plot.locator(".hoverlayer .hovertext").first.wait_for()
    assert "<script>" in page.locator("#plot-front + .unseen-text").text_content()


def test_the_slider_shows_one_layer(opened, summary, examples):
    page = opened(summary, examples)
    slider = page.locator("input[type=range]").first
    example = page.locator(".example").first
    for layer in range(int(slider.get_attribute("max")) + 1):
        slider.fill(str(layer))
        assert example.locator("output").text_content() == str(layer)
        shown = example.locator("li[data-first]:visible")
        assert shown.count() == example.locator(".kept").count()
        for frame in shown.all():
            assert int(frame.get_attribute("data-first")) <= layer
            assert layer <= int(frame.get_attribute("data-last"))
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert example.locator("output").text_content() == str(layer - 1)


def test_what_is_downloaded_is_the_data(opened, summary):
    page = opened(summary)
    for name in ("front.csv", "comparison.json"):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=name).click()
        assert waiting.value.suggested_filename == name


def test_all_has_a_name_and_headings_go_down_one_by_one(opened, summary, examples):
    page = opened(summary, examples)
    levels = page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    unnamed = page.eval_on_selector_all(
        ".plot,.scroll,nav,input,svg[role=img]",
        "all => all.filter(e => !e.ariaLabel && !(e.labels && e.labels.length))"
        ".map(e => e.outerHTML)",
    )
    assert unnamed == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "A"


def test_a_dark_page_prints_on_white(opened, summary):
    page = opened(summary, scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 10_000
