"""Published presets: against their papers' figures, and carried to other models."""

from __future__ import annotations

import numpy as np
import pytest

from paretoprune.core.registries import BrokenPluginError
from paretoprune.cost import decoder_cost
from paretoprune.cost.flops import LLAVA_1_5_7B, Convention
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.pruning.operators import make_pruner
from paretoprune.pruning.pruners.sparsevlm import SparseVLM
from paretoprune.registry import Entry, presets
from paretoprune.schedules.presets import Preset, every_preset, find_preset, find_presets

EVERY = list(every_preset().values())
MINE = Preset("mine:1", "fastv", ((1, 5),), "a paper", "table 9", tokens=10, layers=4)


def cost(name: str, text: int, convention: Convention, visual: int = 576) -> float:
    """What a preset costs on the model it was published for, in units of the convention."""
    counts = find_preset(name).schedule(32).counts(visual)
    return decoder_cost(LLAVA_1_5_7B, counts + text, convention)


def dense(text: int, convention: Convention) -> float:
    return decoder_cost(LLAVA_1_5_7B, np.full(32, 576 + text), convention)


# --- what the papers say they cost


def test_pyramiddrop_costs_what_its_paper_says() -> None:
    """PyramidDrop (arXiv 2410.17247): 3.82 T dense, 1.78 T pruned; visual tokens alone."""
    assert dense(0, "B") == pytest.approx(3.82e12, abs=0.005e12)
    assert cost("pyramiddrop:default", 0, "B") == pytest.approx(1.78e12, abs=0.005e12)


@pytest.mark.parametrize(("name", "share"), [("fastv:k=3,r=0.5", 0.57), ("fastv:k=2,r=0.5", 0.55)])
def test_fastv_costs_what_its_paper_says(name: str, share: float) -> None:
    """FastV (arXiv 2403.06764): 57 % of dense at K=3, R=50 %; a reduction by 45 % at K=2."""
    assert cost(name, 36, "A") / dense(36, "A") == pytest.approx(share, abs=0.005)


def test_divprune_costs_what_its_paper_says() -> None:
    """DivPrune (arXiv 2503.02175): 15 % of the dense TFLOPs."""
    assert cost("divprune:r=0.098", 36, "A") / dense(36, "A") == pytest.approx(0.15, abs=0.005)


def test_cdpruner_costs_what_its_paper_says() -> None:
    """CDPruner (arXiv 2506.10967): 32 tokens are 95 % fewer FLOPs of visual tokens."""
    assert 1 - cost("cdpruner:32", 0, "B") / dense(0, "B") == pytest.approx(0.95, abs=0.005)


def test_vtw_saves_more_than_its_paper_claims_at_least() -> None:
    """VTW (arXiv 2405.05803): over 40 % of the computation."""
    assert cost("vtw:k=15", 36, "A") / dense(36, "A") < 0.6


@pytest.mark.parametrize(
    ("nominal", "listed"), [(192, (300, 200, 110)), (128, (303, 110, 36)), (64, (66, 30, 17))]
)
def test_sparsevlm_counts_what_its_code_recycles(
    nominal: int, listed: tuple[int, int, int]
) -> None:
    """The released code keeps the listed tokens and adds the clusters of what it recycles."""
    counts = find_preset(f"sparsevlm:{nominal}").schedule(32).counts(576)
    before = 576
    for layer, kept in zip((2, 6, 15), listed, strict=True):
        recycled = int((before - kept) * 0.3) + 1
        clusters = int(recycled / 10) + 1
        assert counts[layer] == before
        assert counts[layer + 1] == kept + clusters
        assert SparseVLM().split(kept + clusters, before) == (kept, clusters)
        before = kept + clusters


@pytest.mark.parametrize(("count", "contextual"), [(192, 30), (128, 20), (64, 10)])
def test_visionzip_has_the_papers_contextual_tokens(count: int, contextual: int) -> None:
    preset = find_preset(f"visionzip:{count}")
    assert (preset.schedule(32).counts(576) == count).all()
    assert count * float(preset.settings["contextual"]) == contextual


# --- on any model


@pytest.mark.parametrize("preset", EVERY, ids=lambda p: p.name)
def test_exact_where_it_was_published(preset: Preset) -> None:
    counts = preset.schedule(preset.layers).counts(preset.tokens)
    expected = np.full(preset.layers, float(preset.tokens))
    for layer, kept in preset.drops:
        expected[layer:] = kept
    assert (counts == expected).all()


@pytest.mark.parametrize("layers", [1, 2, 3, 8, 24, 28, 32, 36, 80])
@pytest.mark.parametrize("preset", EVERY, ids=lambda p: p.name)
def test_fits_every_depth_and_its_pruner(preset: Preset, layers: int) -> None:
    schedule = preset.schedule(layers)  # which checks that ratios never rise
    assert schedule.layers == layers
    make_pruner(preset.pruner, preset.settings).check(np.asarray(schedule.ratios))


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("preset", EVERY, ids=lambda p: p.name)
def test_a_deeper_model_keeps_the_same_shares(preset: Preset, times: int) -> None:
    deeper = preset.schedule(times * preset.layers)
    assert deeper.ratios[::times] == preset.schedule(preset.layers).ratios
    assert (
        deeper.counts(times * preset.tokens)[::times]
        == times * preset.schedule(preset.layers).counts(preset.tokens)
    ).all()


def test_layers_and_counts_keep_their_share() -> None:
    """By hand: layers 8, 16, 24 of 32 are 7, 14, 21 of 28; 288, 144, 72 of 576 halves each."""
    schedule = find_preset("pyramiddrop:default").schedule(28)
    assert schedule.ratios == (1.0,) * 7 + (0.5,) * 7 + (0.25,) * 7 + (0.125,) * 7
    assert schedule.counts(256)[[0, 7, 14, 21]].tolist() == [256, 128, 64, 32]


def test_a_drop_in_the_decoder_stays_in_it() -> None:
    """Layer 2 of 32 is layer 0.5 of 8, and FastV cannot act before the decoder."""
    assert find_preset("fastv:k=2,r=0.5").schedule(8).ratios == (1.0,) + (0.5,) * 7
    assert find_preset("fastv:k=2,r=0.5").schedule(4).ratios == (1.0,) + (0.5,) * 3
    assert find_preset("cdpruner:64").schedule(4).ratios[0] == 64 / 576


def test_as_a_schedule_file() -> None:
    content = find_preset("visionzip:64").content(8)
    assert (content.pruner, content.pruner_settings) == ("visionzip", {"contextual": 10 / 64})
    assert content.schedule == find_preset("visionzip:64").schedule(8)
    assert content.found_by is not None
    assert "arXiv 2412.04467" in content.found_by


# --- names


def test_names_of_methods_and_all() -> None:
    assert [p.name for p in find_presets("sparsevlm")] == [
        "sparsevlm:192",
        "sparsevlm:128",
        "sparsevlm:64",
    ]
    assert find_presets("all") == EVERY
    assert find_presets(["vtw", "vtw:k=15", "vtw"]) == [find_preset("vtw:k=15")]
    assert all(p.method == p.name.split(":")[0] and p.summary for p in EVERY)
    with pytest.raises(InvalidValueError, match="name one preset here; 'sparsevlm' stands for"):
        find_preset("sparsevlm")
    with pytest.raises(InvalidValueError, match="at least one preset"):
        find_presets([])


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("fatv", "fastv"), ("sparsevlm:190", "sparsevlm:192"), ("fasterv:r=0.5", "fastervlm:r=0.5")],
)
def test_an_unknown_preset_names_the_nearest(asked: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown preset '{asked}'") as caught:
        find_presets(asked)
    assert f"Did you mean '{nearest}'?" in str(caught.value)


def mine() -> Preset:
    """What a plug-in's function gives."""
    return MINE


def test_a_plug_in_brings_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("mine", f"{__name__}:mine", "mine", "a package 1.0")
    monkeypatch.setattr(presets, "_entries", {**presets._entries, "mine": entry})
    assert find_preset("mine") == find_preset("mine:1") == MINE


def test_a_plug_in_that_gives_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("odd", "textwrap:dedent", "odd", "a package 1.0")
    monkeypatch.setattr(presets, "_entries", {**presets._entries, "odd": entry})
    with pytest.raises(BrokenPluginError, match="preset plug-in 'odd' from a package 1.0"):
        find_presets("all")


@pytest.mark.parametrize(
    ("drops", "said"),
    [
        ((), "drops are"),
        (((2, 5), (1, 4)), "rising layers in 0..3"),
        (((1, 5), (2, 6)), "falling counts of 10 tokens"),
        (((1, 11),), "falling counts of 10 tokens"),
        (((4, 5),), "rising layers in 0..3"),
        (((1, -1),), "keeps -1 tokens"),
    ],
)
def test_impossible_presets_are_refused(drops: tuple[tuple[int, float], ...], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        Preset("mine:1", "fastv", drops, "a paper", "table 9", tokens=10, layers=4)
    with pytest.raises(InvalidValueError, match="1 or more layers"):
        MINE.schedule(0)
