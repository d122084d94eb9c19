"""Drawings of kept tokens: pixels, the figure's layout, and the report's section."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from paretoprune.comparison.results import write_results
from paretoprune.compression.kept import (
    Example,
    Examples,
    Pruned,
    SeenAs,
    State,
    Step,
    write_examples,
)
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.report import write_report
from paretoprune.report.html import render_html
from paretoprune.report.kept_figure import (
    check_file,
    kept_figure,
    layers_to_draw,
    parse_layers,
    print_kept,
    write_kept_figure,
)
from paretoprune.report.kept_section import MAX_CHARACTERS, kept_section
from paretoprune.report.overlay import overlay, panel, picture_of, token_map
from paretoprune.report.page import render

SIDE = 96
CELLS = 4
LAYERS = 8
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'


def file_of(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return base64.b64encode(stream.getvalue())


def noise(high=SIDE, wide=SIDE):
    return np.random.default_rng(0).integers(0, 256, (high, wide, 3), dtype=np.uint8)


def cells(rows=CELLS, columns=CELLS):
    return [
        (r / rows, c / columns, (r + 1) / rows, (c + 1) / columns)
        for r in range(rows) for c in range(columns)
    ]  # fmt: skip


def made(pixels=None, boxes=None, *, merged=(), layers=LAYERS, **more):
    boxes = cells() if boxes is None else boxes
    tokens = len(boxes)
    steps = [
        Step(layer=0, kept=list(range(tokens))),
        Step(layer=2, kept=list(range(tokens // 2)), merged=list(merged)),
        Step(layer=5, kept=[0]),
    ]
    one = Pruned(label="one", pruner="fastv", keep=[1.0] * layers, steps=steps, answer="red",
                 right=True)  # fmt: skip
    given = {
        "question": "which colour ?", "answer": "red", "family": "attribute", "model": "mini-llava",
        "pictures": [file_of(noise() if pixels is None else pixels)],
        "views": [SeenAs(picture=0)], "view": [0] * tokens, "boxes": boxes,
        "dense_answer": "red", "dense_right": True, "pruned": [one, one],
    }  # fmt: skip
    return Example(**(given | more))


def states(tokens, **named):
    found = np.full(tokens, State.KEPT, np.int8)
    for name, which in named.items():
        found[which] = State[name.upper()]
    return found


@pytest.mark.parametrize(("high", "wide"), [(96, 96), (40, 100), (700, 500)])
def test_kept_pixels_are_the_picture_and_dropped_ones_are_darker(high, wide):
    example = made(noise(high, wide))
    drawn = overlay(example, 0, states(16, gone=[5, 6], merged=[9]))
    picture, token = picture_of(example, 0), token_map(example, 0, drawn.shape[:2])
    gone, merged = np.isin(token, [5, 6]), token == 9
    assert (drawn[~gone & ~merged] == picture[~gone & ~merged]).all()
    inner = gone & (drawn != 240).any(-1)  # without the light line around kept tokens
    assert inner.sum() > 0.7 * gone.sum()
    assert drawn[inner].max() < 90
    assert (drawn[gone] != picture[gone]).any(-1).mean() > 0.99
    assert drawn[inner].std() < 0.3 * picture[inner].std()
    # merged: bluish, in stripes, lighter than dropped ones
    assert drawn[merged][:, 2].mean() > drawn[merged][:, 0].mean() + 50
    assert drawn[merged].mean() > drawn[inner].mean() + 40


def test_every_state_differs_in_lightness_not_in_colour_alone():
    for shade in (0, 60, 128, 200, 255):
        example = made(np.full((SIDE, SIDE, 3), shade, np.uint8))
        drawn = overlay(example, 0, states(16, gone=[5], merged=[9]))
        token = token_map(example, 0, drawn.shape[:2])
        grey = drawn @ np.array([0.299, 0.587, 0.114])
        assert abs(grey[token == 5].mean() - grey[token == 9].mean()) > 25
        border = grey[token == 5].max()  # the line around kept tokens
        assert border > 230
        assert grey[token == 9].std() > 25  # the hatch


def test_small_pictures_are_enlarged_by_a_whole_number_and_cells_stay_cells():
    example = made()
    picture = picture_of(example, 0)
    assert picture.shape == (384, 384, 3)
    assert (picture[::4, ::4] == noise()).all()
    token = token_map(example, 0, (384, 384))
    assert (np.bincount(token.ravel()) == 96 * 96).all()


def test_what_no_token_sees_is_faded():
    example = made(np.full((SIDE, SIDE, 3), 20, np.uint8), [(0.0, 0.25, 1.0, 0.75)])
    drawn = overlay(example, 0, states(1))
    assert (drawn[:, : 384 // 4] > 200).all()
    assert (drawn[:, 384 // 4 : 384 * 3 // 4] == 20).all()


def test_line_ends_are_bars_beside_the_picture():
    boxes = [(0.0, 0.0, 0.5, 1.0), (0.0, 1.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.5, 1.0, 1.0, 1.0)]
    example = made(boxes=boxes)
    drawn = overlay(example, 0, states(4, gone=[3]))
    bar = drawn[:, -4:].mean((1, 2))
    assert drawn.shape[1] > 384
    assert bar[96] < 50  # kept
    assert 180 < bar[288] < 230  # gone
    assert (drawn[:, :384] == picture_of(example, 0)).all()


def test_views_are_laid_out_without_overlap():
    example = made(
        boxes=[(0.0, 0.0, 1.0, 1.0)] * 3, view=[0, 1, 2],
        pictures=[file_of(noise(50, 100)), file_of(noise(100, 50))],
        views=[SeenAs(picture=0), SeenAs(picture=1), SeenAs(picture=0)],
    )  # fmt: skip
    whole = panel(example, states(3), gap=10)
    area = sum(overlay(example, v, states(3))[..., 0].size for v in range(3))
    assert (whole != 255).any(-1).sum() <= area
    assert (whole != 255).any(-1).sum() > 0.98 * area
    assert 0.4 < whole.shape[0] / whole.shape[1] < 2.5


def test_a_picture_that_cannot_be_read_is_said_so():
    broken = base64.b64encode(b"\x89PNG\r\n\x1a\nnothing")
    example = made(pictures=[broken])
    with pytest.raises(BrokenFileError, match="cannot be read"):
        overlay(example, 0, states(16))
    with pytest.raises(BrokenFileError, match="cannot be read"):
        kept_section(Examples(label="a", seed=0, examples=[example]))


# --- the figure


def texts(figure):
    found = []
    for axes in figure.axes:
        found += [axes.get_title(), *(t.get_text() for t in axes.texts)]
    return "\n".join(found)


def test_the_figure_says_what_is_kept_and_answered():
    told = texts(kept_figure(made()))
    for part in (
        "layers 0-1\n16 of 16", "layers 2-4\n8 of 16", "layers 5-7\n1 of 16", "red (right)",
        "which colour ?", "known answer: red", "mini-llava, 16 visual tokens",
    ):  # fmt: skip
        assert part in told
    all_layers = kept_figure(made(), "all")
    assert sum(axes.get_title().startswith("layer") for axes in all_layers.axes) == 2 * LAYERS
    assert "layer 4\n8 of 16" in texts(kept_figure(made(), [4]))


def test_32_layers_go_on_in_lines_of_eight():
    figure = kept_figure(made(layers=32), "all")
    widths = {round(axes.get_subplotspec().colspan.stop) for axes in figure.axes}
    assert max(widths) == 9
    assert sum(axes.get_title().startswith("layer") for axes in figure.axes) == 64


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"),
                                             ("a.PDF", b"%PDF")])  # fmt: skip
def test_the_suffix_says_the_format(tmp_path, name, start):
    hostile = made(question="$x_1$ $ \\frac " + SCRIPT, family=None, answer="日本")
    write_kept_figure(hostile, check_file(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_drawing_twice_gives_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        write_kept_figure(made(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_files_and_layers_that_do_not_work_are_refused(tmp_path):
    for name in ("a.gif", "a"):
        with pytest.raises(InvalidValueError, match="must end in"):
            check_file(tmp_path / name)
    with pytest.raises(BrokenFileError, match="no folder"):
        check_file(tmp_path / "none" / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(BrokenFileError, match="is a folder"):
        check_file(tmp_path / "b.png")
    assert parse_layers("changes") is None
    assert parse_layers("0,4") == [0, 4]
    with pytest.raises(InvalidValueError, match="changes, all or numbers"):
        parse_layers("some")
    for layer in (-1, 8):
        with pytest.raises(InvalidValueError, match="layers 0 to 7"):
            layers_to_draw(made().pruned[0], [layer])


def test_the_table_prints_anything(tmp_path):
    from rich.console import Console

    stream = io.StringIO()
    hostile = made(question="[bold]\x1b[31m" + SCRIPT, merged=[(9, 0)])
    print_kept(Console(file=stream, width=100), hostile, tmp_path / "a.png")
    told = stream.getvalue()
    assert "\x1b" not in told
    assert "[bold]" in told
    assert "16 16 8 8 8 1 1 1" in told
    assert "merged" in told


# --- the report


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def examples_of(*each):
    return Examples(label="tpe", seed=0, examples=list(each))


def section_of(examples):
    return render("section.html", section=kept_section(examples))


def test_the_section_shows_every_layer_and_has_a_slider():
    tags = Tags(section_of(examples_of(made(merged=[(9, 0)]), made())))
    sliders = tags.named("input")
    assert [s["max"] for s in sliders] == ["7", "7"]
    assert [s["value"] for s in sliders] == ["2", "2"]  # the first loss
    labels = {label["for"] for label in tags.named("label")}
    assert labels == {s["id"] for s in sliders}
    spans = [(int(li["data-first"]), int(li["data-last"])) for li in tags.named("li")
             if "data-first" in li]  # fmt: skip
    assert spans == [(0, 1), (2, 4), (5, 7)] * 4
    drawings = [svg for svg in tags.named("svg") if svg.get("role") == "img"]
    assert [svg["aria-label"] for svg in drawings[:3]] == [
        f"{told} visual tokens kept"
        for told in ("layers 0-1: 16 of 16", "layers 2-4: 8 of 16", "layers 5-7: 1 of 16")
    ]
    told = " ".join(tags.texts)
    for part in ("attribute: which colour ?", "known answer red; dense answer red (right)",
                 "merged into a kept token", "What the best schedules keep"):  # fmt: skip
        assert part in told


def painted(path, high=SIDE, wide=SIDE):
    """The pixels of a path of rectangles, bool."""
    found = np.zeros((high, wide), bool)
    pattern = r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z"
    for corner in re.findall(pattern, path):
        left, top, across, down = map(float, corner)
        found[round(top) : round(top + down), round(left) : round(left + across)] = True
    return found


def test_the_shapes_cover_what_is_not_kept():
    example = made(merged=[(9, 0), (10, 0)])
    tags = Tags(section_of(examples_of(example)))
    paths = tags.named("path")
    gone = next(p["d"] for p in paths if p["class"] == "gone")
    merged = next(p["d"] for p in paths if p["class"] == "merged")
    token = token_map(example, 0, (SIDE, SIDE))
    assert (painted(merged) == np.isin(token, [9, 10])).all()
    assert (painted(gone) == ((token >= 8) & ~np.isin(token, [9, 10]))).all()
    outline = next(p["d"] for p in paths if p["class"] == "outline")
    # half of the picture is kept: four sides of eight cells that no two share
    assert len(re.findall("M", outline)) == 2 * (CELLS + 2)


def test_references_stay_within_the_page():
    tags = Tags(section_of(examples_of(made(), made())))
    ids = [attrs["id"] for _, attrs in tags.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for use in tags.named("use"):
        assert use["href"].removeprefix("#") in ids
    for image in tags.named("image"):
        assert re.fullmatch(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+", image["href"])
    assert not {"img", "script", "a", "iframe"} & {tag for tag, _ in tags.found}


def test_hostile_text_is_shown_as_text(summary):
    one = made().pruned[0].model_copy(update={"label": IMAGE, "pruner": SCRIPT, "answer": IMAGE})
    hostile = made(question=SCRIPT, family=IMAGE, answer=SCRIPT, dense_answer=IMAGE, pruned=[one])
    text = render_html(summary, Examples(label=SCRIPT, seed=0, examples=[hostile]))
    body = text.split('<script type="application/json"')[0]
    assert SCRIPT not in body
    assert "<img" not in body
    assert SCRIPT in " ".join(Tags(body).texts)


def test_a_report_with_examples_runs_the_page_s_own_scripts_only(summary, empty):
    for one in (summary, empty):
        text = render_html(one, examples_of(made()))
        assert text.count("<script") == 3
        assert "slider" in text
        assert len(text.encode()) < 6_000_000
        assert 'querySelectorAll(".example")' in text
    assert render_html(summary) == render_html(summary, examples_of())


def test_the_section_stays_small():
    picture = file_of(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    large = made(pictures=[picture])
    assert 2 * len(picture) < MAX_CHARACTERS < 6 * len(picture)
    section = section_of(examples_of(*[large] * 6))
    assert len(section) < MAX_CHARACTERS + 5000
    assert 2 <= len(Tags(section).named("article")) < 6
    assert "more would make this page too large" in section
    # a dear one: many tokens that change in every layer
    boxes = cells(48, 48)
    rng = np.random.default_rng(0)
    order = rng.permutation(2304)
    kept = [sorted(order[70 * layer :].tolist()) for layer in range(32)]
    steps = [Step(layer=i, kept=k) for i, k in enumerate(kept)]
    one = Pruned(label="one", pruner="p", keep=[1.0] * 32, steps=steps, answer="a")
    many = made(boxes=boxes, pruned=[one, one])
    section = section_of(examples_of(many, made()))
    assert len(Tags(section).named("article")) == 2
    assert "outline" in section  # of the small one; the dear one goes without


def test_a_stored_folder_gives_the_same_report(summary, tmp_path):
    from paretoprune.compression.kept import read_examples

    examples = examples_of(made())
    write_results(tmp_path / "a", summary)
    write_examples(tmp_path / "a", examples)
    write_report(tmp_path / "a", summary, read_examples(tmp_path / "a"))
    write_report(tmp_path / "b", summary, examples)
    one, other = ((tmp_path / name / "report.html").read_bytes() for name in "ab")
    assert one == other
