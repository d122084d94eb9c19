"""AutoPrune by hand-computed examples (arXiv 2509.23931), and as a policy."""

import math

import numpy as np
import pytest
import torch

from paretoprune.compression.problem import Compression
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.policies.autoprune import DEPTH, AutoPrune, mutual_information
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.search.autoprune import AutoPruneSearch
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.models import question_batch, tiny_llava
from paretoprune.testing.policies import PolicyContract
from paretoprune.testing.pruners import context_of


class TestAutoPrune(PolicyContract):
    def make(self, spec):
        # of the tiny model's 4 layers and strong attention: slopes differ from sample to sample
        return AutoPrune(spec.layers, 8, 0.7, layer=2, centre=20.0, slope=1.0, sensitivity=0.05)


class Told:
    """A context whose attention is given: weights [B, heads, R, V] of question on picture."""

    def __init__(self, weights, text=None, present=None):
        batch, _, asked, visual = weights.shape
        self.weights = weights
        self.visual = torch.arange(visual).expand(batch, -1)
        self.present = torch.ones(batch, visual, dtype=torch.bool) if present is None else present
        there = torch.ones(batch, asked, dtype=torch.bool) if text is None else text
        self.text = visual + torch.arange(asked).expand(batch, -1), there

    def attention_blocks(self, asked):
        for start in range(0, asked.shape[1], 2):
            part = slice(start, start + 2)
            others = torch.full_like(self.weights[:, :, part], 0.3)  # weights of other tokens
            yield part, torch.cat([self.weights[:, :, part], others], 3)


def test_information_is_none_where_all_questions_see_alike_and_log_2_where_each_sees_its_own():
    alike = [[0.2, 0.1], [0.4, 0.2], [0.1, 0.05]]
    own = [[0.4, 0.0], [0.0, 0.2], [0.0, 0.2]]
    weights = torch.tensor([[alike, alike], [own, own], [own, alike]], dtype=torch.float64)
    found = mutual_information(Told(weights))
    # P = ((1/2, 0), (0, 1/4), (0, 1/4)): H(rows) + H(columns) - H(P) = H(columns) = log 2
    expected = [0.0, DEPTH * math.log(2), DEPTH * math.log(2) / 2]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_information_of_a_written_out_table():
    a = torch.tensor([[[[0.3, 0.1], [0.1, 0.1]]]], dtype=torch.float64)
    p = np.array([[3, 1], [1, 1]]) / 6
    by_hand = sum(
        p[i, j] * math.log(p[i, j] / (p[i].sum() * p[:, j].sum())) for i in (0, 1) for j in (0, 1)
    )
    assert float(mutual_information(Told(a))) == pytest.approx(DEPTH * by_hand)


def test_absent_tokens_play_no_part():
    a = torch.tensor([[[[0.3, 0.1, 0.9], [0.1, 0.1, 0.2], [0.7, 0.1, 0.4]]]], dtype=torch.float64)
    seen = Told(
        a, text=torch.tensor([[True, True, False]]), present=torch.tensor([[True, True, False]])
    )
    alone = Told(a[:, :, :2, :2])
    assert float(mutual_information(seen)) == pytest.approx(float(mutual_information(alone)))
    nothing = Told(a, text=torch.zeros(1, 3, dtype=torch.bool))
    assert float(mutual_information(nothing)) == 0.0


def test_the_authors_curve_for_llava():
    """32 layers, x0 = 14.9, k0 = 0.4, gamma = 0.2, 64 of 576 tokens on average (their README)."""
    policy = AutoPrune(32, None, 0.2)
    (row,) = policy.curve(torch.tensor([0.5], dtype=torch.float64)).numpy()
    k = 0.4 - 0.2 * 0.5
    shape = 1 / (1 + np.exp(k * (np.arange(32) - 14.9)))
    assert row[:2].tolist() == [1.0, 1.0]
    assert row.mean() == pytest.approx(0.2)
    assert np.allclose(row[2:] / row[2], shape[2:] / shape[2])


def test_the_more_is_told_the_flatter_the_curve_and_never_rising():
    policy = AutoPrune(8, None, 0.5)
    rows = policy.curve(torch.tensor([0.0, 1.0, 1.9, 2.0, 50.0], dtype=torch.float64)).numpy()
    assert np.allclose(rows.mean(1), 0.5)
    assert (np.diff(rows[:, -1]) >= -1e-12).all()
    assert rows[0, -1] < rows[2, -1]
    assert np.allclose(rows[3:, 2:], (0.5 * 8 - 2) / 6)  # k = max(.., 0): a constant


@pytest.mark.parametrize(("tokens", "rest"), [(0.1, 0.0), (0.25, 0.0), (1.0, 1.0)])
def test_the_fewest_and_the_most_tokens(tokens, rest):
    rows = AutoPrune(8, None, tokens).curve(torch.tensor([0.0], dtype=torch.float64))
    assert rows[0, :2].tolist() == [1.0, 1.0]
    assert torch.allclose(rows[0, 2:], torch.full((6,), rest, dtype=torch.float64), atol=1e-9)


@torch.no_grad()
def test_it_reads_the_attention_of_the_layer_before():
    """Against attention weights of the model itself, all tokens, eager."""
    adapter = tiny_llava(attn="eager", dtype=torch.float32)
    inputs = question_batch(adapter, 1)
    prefill = adapter.prefill(inputs)
    context = context_of(adapter, prefill, 2)
    maps = adapter.model(**inputs, output_attentions=True).attentions[1][0].double()
    visual = prefill.visual[0].nonzero()[:, 0]
    asked = range(int(visual[-1]) + 1, int(prefill.prompt_end[0]) + 1)
    total = 0.0
    for head in maps.numpy():
        p = head[np.ix_(list(asked), visual.numpy())]
        p = p / p.sum()
        outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
        total += float((p * np.log(p / outer)).sum())
    expected = DEPTH * total / len(maps)
    assert float(mutual_information(context)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 1.5}, "0..1"),
        ({"tokens": 0.5, "layer": 0}, "1..7"),
        ({"tokens": 0.5, "layer": 8}, "1..7"),
        ({"tokens": 0.5, "slope": -1.0}, "0 or more"),
    ],
)
def test_what_makes_no_curve_is_refused(settings, message):
    with pytest.raises(InvalidValueError, match=message):
        AutoPrune(8, 18, **settings)


def test_the_strategy_pays_for_looking_and_stays_within_its_budget(mini):
    problem = Compression(mini.adapter, mini.samples[:16], Tokens(FastV()))
    strategy = AutoPruneSearch(targets=3, sensitivity=0.03)
    strategy.start(problem, SearchContext(seed=0, budget=10.0))
    candidates = strategy.ask(8)
    assert strategy.finished
    assert [round(c.policy.tokens, 3) for c in candidates] == [0.438, 0.625, 0.812]
    found = problem.evaluate(candidates)
    for one in found:
        kept = problem.configuration(one.candidate).ratios.mean()
        assert kept == pytest.approx(one.candidate.policy.tokens, abs=0.5 / problem.tokens.levels)
        assert 0 < one.metrics["deciding"] < 0.05
    rows = problem.configuration(candidates[1]).ratios
    assert len(np.unique(rows, axis=0)) > 1
    few = AutoPruneSearch(targets=3)
    few.start(problem, SearchContext(seed=0, budget=1.3))
    assert 1 <= len(few.ask(8)) < 3
