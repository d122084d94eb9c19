"""MiniVQA: determinism, disjoint splits, balanced answers, and that answers are in the picture."""

from collections import Counter

import numpy as np
import pytest

from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.tasks.minivqa.questions import FAMILIES
from paretoprune.tasks.minivqa.render import SPLITS, digit_masks, render
from paretoprune.tasks.minivqa.scene import CHART_CELLS, draw_scene
from paretoprune.tasks.minivqa.vocabulary import CELL, COLOURS, GRID, SHAPES, WORDS


def test_a_sample_depends_on_split_seed_and_number_only():
    short, long = load_split("search", 10), load_split("search", 20)
    for a, b in zip(short, long, strict=False):
        assert (a.prompt, a.answer, a.id) == (b.prompt, b.answer, b.id)
        assert np.array_equal(a.image, b.image)
    other = load_split("search", 10, seed=1)
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(short, other, strict=True))


def test_no_handwritten_digit_is_in_two_splits():
    prints = {
        split: {mask.tobytes() for masks in digit_masks(split).values() for mask in masks}
        for split in SPLITS
    }
    total = sum(len(p) for p in prints.values())
    assert total > 1700
    assert len(set.union(*prints.values())) == total


def test_families_take_turns_and_words_are_known():
    samples = load_split("heldout", 80)
    assert Counter(s.family for s in samples) == dict.fromkeys(FAMILIES, 10)
    words = {w for s in samples for w in (s.prompt + " " + s.answer).split()}
    assert words <= set(WORDS)


def test_answers_are_spread_so_that_guessing_does_not_pay():
    rng = np.random.default_rng(0)
    most = {"existence": 0.56, "choice": 0.42, "location": 0.2, "digit": 0.16, "chart": 0.23}
    most |= {"attribute": 0.23, "text": 0.05, "counting": 0.3}
    for family, ask in FAMILIES.items():
        answers = Counter(ask(draw_scene(rng), rng)[1] for _ in range(1500))
        assert answers.most_common(1)[0][1] / 1500 < most[family], family


def test_things_never_overlap():
    rng = np.random.default_rng(1)
    for _ in range(200):
        scene = draw_scene(rng)
        taken = np.zeros((GRID, GRID), dtype=int)
        chart = scene.chart
        taken[chart.row : chart.row + CHART_CELLS, chart.col : chart.col + CHART_CELLS] += 1
        taken[scene.sign.row, scene.sign.col : scene.sign.col + len(scene.sign.digits)] += 1
        for thing in scene.things:
            taken[thing.row, thing.col] += 1
        assert taken.max() == 1


def test_colours_are_where_the_scene_says():
    rng = np.random.default_rng(2)
    scene = draw_scene(rng)
    picture = render(scene, rng, "train").astype(int)
    assert picture.shape == (96, 96, 3)
    for thing in scene.things:
        if thing.kind in SHAPES and thing.kind not in ("ring", "triangle"):
            centre = picture[thing.row * CELL + CELL // 2, thing.col * CELL + CELL // 2]
            nearest = min(COLOURS, key=lambda c: np.abs(centre - np.array(COLOURS[c])).sum())
            assert nearest == thing.colour


def test_errors_name_the_value():
    with pytest.raises(UnknownNameError, match="Did you mean 'search'"):
        load_split("serach", 8)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="got 0"):
        load_split("search", 0)
