"""The benchmarks run at small sizes, check agreement, and print what they measured.

No assertion is about time.
"""

import json
import sys

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.cost import DecoderSpec, layer_cost
from paretoprune.errors import UnknownNameError, UnsupportedError
from paretoprune.experiments.bench import BENCHMARKS, evaluation, find, latency, prefill

TINY = DecoderSpec(64, 8, 4, 4, 16, 96)


@pytest.fixture
def console():
    return Console(width=140, record=True, file=sys.stderr)


def test_all_are_found_and_unknown_ones_named():
    assert all(callable(find(name)) for name in BENCHMARKS)
    with pytest.raises(UnknownNameError, match="benchmark 'evalution'"):
        find("evalution")


@pytest.mark.slow
def test_evaluation_checks_agreement_first(console, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "CANDIDATES", 6)
    monkeypatch.setattr(evaluation, "PLAIN_PAIRS", 6)
    found = evaluation.run(console, search_size=16, repeats=3, out=tmp_path / "e.json")
    text = console.export_text()
    assert text.index("agreement: 192 outcomes") < text.index("two-step candidates")
    assert "torch" in text
    assert found["flop_bound"] > 1
    assert found["plain_pairs"] == 6
    assert all(len(t) == 3 for t in found["all_seconds"].values())
    assert json.loads((tmp_path / "e.json").read_text())["samples"] == 16


@pytest.mark.slow
def test_a_wrong_plain_loop_is_noticed(console, monkeypatch):
    right = evaluation._plain
    monkeypatch.setattr(evaluation, "_plain", lambda *a: [not x for x in right(*a)])
    with pytest.raises(evaluation.Disagreement, match="192 of 192 outcomes differ"):
        evaluation.run(console, search_size=16)


def test_evaluation_refuses_models_that_the_plain_loop_does_not_know(console):
    with pytest.raises(UnsupportedError, match="written for LLaVA models"):
        evaluation.run(console, model="mini-qwen2.5-vl")


def test_prefill_schedules_meet_their_flop_ratio(console):
    for shape in prefill.SHAPES.values():
        for target in prefill.TARGETS:
            ratios = shape(prefill.SMALL, target)
            assert prefill.flop_ratio(prefill.SMALL, ratios) == pytest.approx(target, abs=0.005)
            assert (np.diff(ratios) <= 0).all()
    assert prefill.flop_ratio(prefill.SMALL, np.ones(16)) == 1.0


@pytest.mark.slow
def test_prefill_runs(console):
    found = prefill.run(console, repeats=3, spec=TINY)
    assert len(found["figures"]) == 2 * (1 + 3 * 3)
    assert found["figures"][0]["time_ratio"] == found["figures"][0]["products_ratio"] == 1.0
    assert "that is allowed" in console.export_text()


@pytest.mark.slow
def test_matrix_products_are_those_of_the_whole_batch(console, monkeypatch):
    seen = set()
    monkeypatch.setattr(
        prefill, "matrix_products", lambda _, tokens: seen.add(tuple(tokens.tolist()))
    )
    prefill.run(console, repeats=3, spec=TINY)
    for batch in prefill.BATCHES:
        assert (batch * (prefill.VISUAL + prefill.TEXT),) * TINY.layers in seen


def test_matrix_products_are_all_linear_maps_of_the_layers():
    adapter = prefill.random_decoder(TINY, "cpu", torch.float32)
    with FlopCounterMode(display=False) as counter:
        prefill.matrix_products(adapter, np.full(TINY.layers, 7))
    # the layer's cost without its attention, which grows with the square of the tokens
    one, two = (float(layer_cost(TINY, n)) for n in (7, 14))
    assert counter.get_total_flops() == TINY.layers * (4 * one - two) / 2


@pytest.mark.slow
def test_latency_runs(console):
    found = latency.run(console, repeats=3)
    assert found["flop_ratio"] == sorted(found["flop_ratio"], reverse=True)
    assert len(found["points"]) >= 24
    assert "cross-validated error" in console.export_text()
