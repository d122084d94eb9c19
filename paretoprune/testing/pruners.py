"""The contract suite of pruners: subclass `PrunerContract` as `TestX` and define `make`."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.deploy.views import pruned
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.base import (
    NEEDS,
    DropCounts,
    Pruner,
    PruningContext,
    ScorePruner,
    Selection,
)
from paretoprune.pruning.decoder import Executed, run_population, with_saved
from paretoprune.pruning.soft import run_soft
from paretoprune.pruning.tokens import enter
from paretoprune.testing import pytest
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import (
    QUESTIONS,
    assert_same_without_cache,
    question_batch,
    random_pictures,
    tiny_llava,
)


def context_of(
    adapter: Adapter, prefill: Prefill, layer: int, pruner: Pruner | None = None
) -> PruningContext:
    """The context of `pruner` before `layer` when nothing was dropped."""
    tokens = enter(prefill)
    if pruner is not None:
        tokens = with_saved(adapter, pruner, tokens, Executed())
    for index in range(layer):
        tokens = tokens.run(adapter, index)
    return tokens.context(adapter, layer)


def select_each(pruner: Pruner, context: PruningContext, n: int) -> Selection:
    """The choice of `n` tokens of every sample."""
    return pruner.select(context, torch.full_like(context.query, n))


def handmade_context(
    states: Tensor,
    text: Tensor,
    *,
    present: Tensor | None = None,
    keys: Tensor | None = None,
    extras: Mapping[str, Tensor] | None = None,
    layer: int = 0,
) -> PruningContext:
    """A context of visual tokens [B, V, c] with a question [B, R, c] behind them, without a model.

    `present` bool [B, V] (first ones only), `keys` [B, kv_heads, V + R, d], `extras` of the visual
    tokens [B, V, c] each. Properties that need a model's attention raise.
    """
    batch, visual, questions = *states.shape[:2], text.shape[1]
    there = torch.ones(batch, visual, dtype=torch.bool) if present is None else present
    length = visual + questions
    table = torch.zeros(batch, length, 2, dtype=states.dtype)
    asked = torch.ones(batch, questions, dtype=torch.bool)
    return PruningContext(
        adapter=None,  # type: ignore[arg-type]
        layer=layer,
        hidden=torch.cat([states, text], 1),
        rotary=(table, table),
        valid=torch.cat([there, asked], 1),
        visual=torch.arange(visual).expand(batch, -1),
        present=there,
        keep_mask=there,
        origin=torch.arange(length).expand(batch, -1),
        query=torch.full((batch,), length - 1),
        sample=torch.arange(batch),
        keys=keys,
        query_before=None,
        extras={
            name: torch.cat([value, value.new_zeros(batch, questions, value.shape[-1])], 1)
            for name, value in (extras or {}).items()
        },
    )


class PrunerContract(ABC):
    """Contract of every pruner, checked on a tiny random LLaVA in float64."""

    @abstractmethod
    def make(self) -> Pruner:
        """Build a fresh pruner."""

    def adapter(self) -> Adapter:
        """Build the model of these tests; override for a family that has what the pruner needs."""
        return tiny_llava()

    def prefill(self, adapter: Adapter, *, padding_side: str = "right") -> Prefill:
        """Prefill three samples with prompts of different lengths."""
        with torch.no_grad():
            inputs = question_batch(adapter, padding_side=padding_side)
            return prefill_for(adapter, inputs, needs=self.make().needs)

    def ranking(self) -> Pruner:
        """Build a pruner that ranks; skip the test for one that keeps all tokens or none."""
        pruner = self.make()
        if pruner.withdraws:
            pytest.skip("this pruner ranks nothing")
        return pruner

    def ratios(self, adapter: Adapter) -> NDArray[np.float64]:
        """Schedules that drop early, late, twice, and everything: `[candidates, layers]`."""
        first, layers = self.make().first_layer, adapter.spec.layers
        rows = np.ones((5, layers))
        rows[1, first:] = 0.5
        rows[2, layers - 1 :] = 0.25
        rows[3, first:] = 0.75
        rows[3, layers - 1 :] = 0.25
        rows[4, first:] = 0.0
        return np.stack([self.make().fitted(row) for row in rows])

    @torch.no_grad()
    def test_selects_distinct_tokens_that_exist(self) -> None:
        """For every n from 1 to V: n distinct visual tokens of each sample."""
        adapter, pruner = self.adapter(), self.ranking()
        context = context_of(adapter, self.prefill(adapter), pruner.first_layer, pruner)
        visual = context.visual.shape[1]
        for n in range(1, visual + 1):
            indices = select_each(pruner, context, n).indices
            assert indices.shape == (len(context.visual), n)
            assert indices.dtype == torch.int64
            for row in indices.tolist():
                assert len(set(row)) == n
                assert min(row) >= 0
                assert max(row) < visual

    @torch.no_grad()
    def test_absent_tokens_come_last(self) -> None:
        """A sample with fewer visual tokens than others keeps its own before any absent one."""
        adapter, pruner = self.adapter(), self.ranking()
        prefill = self.prefill(adapter)
        visual = prefill.visual.clone()
        place = visual[1].nonzero()[:3, 0]
        visual[1, place] = False
        context = context_of(
            adapter, dataclasses.replace(prefill, visual=visual), pruner.first_layer, pruner
        )
        indices = select_each(pruner, context, context.visual.shape[1]).indices
        assert not context.present[1].gather(0, indices[1])[-3:].any()

    @torch.no_grad()
    def test_every_sample_has_a_count_of_its_own(self) -> None:
        """Counts 0, 3 and all in one batch: each sample chooses as if it were alone.

        In float64, where no two scores tie but for those that are equal in either batch.
        """
        adapter, pruner = self.adapter(), self.ranking()
        context = context_of(adapter, self.prefill(adapter), pruner.first_layer, pruner)
        most = context.visual.shape[1]
        together = pruner.select(context, torch.tensor([0, 3, most]))
        alone = pruner.select(context.one(1), torch.tensor([3]))
        assert torch.equal(together.indices[1, :3], alone.indices[0])
        assert together.indices[2].sort().values.tolist() == list(range(most))
        if together.weights is not None and alone.weights is not None:
            assert torch.allclose(together.weights[1, :3], alone.weights[0])

    @torch.no_grad()
    def test_same_context_same_choice(self) -> None:
        """No hidden randomness, and the global generator is left alone."""
        adapter, pruner = self.adapter(), self.ranking()
        prefill = self.prefill(adapter)
        state = torch.get_rng_state()
        layer = pruner.first_layer
        first = select_each(pruner, context_of(adapter, prefill, layer, pruner), 5).indices
        torch.manual_seed(12345)
        second = select_each(self.make(), context_of(adapter, prefill, layer, pruner), 5).indices
        assert torch.equal(first, second)
        torch.set_rng_state(state)
        select_each(pruner, context_of(adapter, prefill, layer, pruner), 5)
        assert torch.equal(torch.get_rng_state(), state)

    @torch.no_grad()
    def test_keep_all_is_dense(self) -> None:
        """A schedule of ones gives the unmodified model's logits."""
        adapter = self.adapter()
        inputs = question_batch(adapter)
        dense = adapter.model(**inputs).logits
        end = adapter.prefill(inputs).prompt_end
        last = dense[torch.arange(len(end)), end]
        ones = np.ones((1, adapter.spec.layers))
        assert_close(self._answers(adapter, ones)[0], last)

    @torch.no_grad()
    def test_shared_prefixes_change_nothing(self) -> None:
        """A population evaluated together equals its members evaluated one by one."""
        adapter = self.adapter()
        rows = self.ratios(adapter)
        together = self._answers(adapter, rows)
        for i, row in enumerate(rows):
            alone = self._answers(adapter, row[None])[0]
            assert_close(together[i], alone)

    @torch.no_grad()
    def test_padding_changes_nothing(self) -> None:
        """Left padding, right padding and no padding (one sample at a time) agree."""
        adapter = self.adapter()
        rows = self.ratios(adapter)
        right = self._answers(adapter, rows, padding_side="right")
        left = self._answers(adapter, rows, padding_side="left")
        assert_close(right, left)
        for i in range(3):
            alone = self._answers(adapter, rows, only=i)
            assert_close(right[:, i : i + 1], alone)

    @torch.no_grad()
    def test_pruning_changes_the_answer(self) -> None:
        """Dropping tokens is not silently a no-op."""
        adapter = self.adapter()
        answers = self._answers(adapter, self.ratios(adapter))
        for answer in answers[1:]:
            assert not torch.allclose(answer, answers[0], atol=1e-3)

    @pytest.mark.parametrize("beams", [1, 2])
    def test_generation_without_a_cache_gives_the_same_tokens(self, beams: int) -> None:
        """Tokens are ranked by the prompt at every step, and alike for all beams of a sample."""
        adapter = self.adapter()
        view = pruned(adapter.model, list(self.ratios(adapter)[3]), self.make())
        inputs = question_batch(adapter, padding_side="left")
        assert_same_without_cache(view, adapter, inputs, num_beams=beams)

    @torch.no_grad()
    def test_a_failed_call_leaves_no_trace(self) -> None:
        """Features made of other pictures, and a call that fails behind them, change nothing."""
        adapter = self.adapter()
        ratios = list(self.ratios(adapter)[3])
        inputs = question_batch(adapter, padding_side="left")
        other = adapter.inputs(random_pictures(2, seed=1), QUESTIONS[1:])
        options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        expected = pruned(adapter.model, ratios, self.make()).generate(**inputs, **options)
        view = pruned(adapter.model, ratios, self.make())
        takes = inspect.signature(view.get_image_features).parameters
        view.get_image_features(**{name: other[name] for name in takes if name in other})
        with pytest.raises(UnsupportedError, match="a cache of its own"):
            view.generate(**other, max_new_tokens=1, cache_implementation="static")
        found = view.generate(**inputs, **options)
        assert torch.equal(found.logits[0], expected.logits[0])

    @torch.no_grad()
    def test_refuses_to_rank_too_early(self) -> None:
        """A drop before `first_layer` is an error that names the layer."""
        adapter, pruner = self.adapter(), self.make()
        if pruner.first_layer == 0:
            pytest.skip("this pruner acts before the decoder")
        rows = np.full((1, adapter.spec.layers), 0.5)
        with pytest.raises(InvalidValueError, match=f"before layer {pruner.first_layer}"):
            list(run_population(adapter, self.prefill(adapter), rows, pruner))

    @torch.no_grad()
    def test_each_picture_keeps_a_token_where_asked(self) -> None:
        """With `per_picture`, whatever it would choose: a third of the tokens is a picture here."""
        adapter, pruner = self.adapter(), self.ranking()
        prefill = self.prefill(adapter)
        visual = prefill.visual
        third = 3 * (visual.long().cumsum(1) - 1) // visual.sum(1, keepdim=True)
        number = third.masked_fill(~visual, -1)[..., None]
        prefill = dataclasses.replace(prefill, extras={**prefill.extras, PICTURE: number})
        rows = np.ones((1, adapter.spec.layers))
        rows[:, pruner.first_layer :] = 0.01
        (leaf,) = run_population(adapter, prefill, rows, pruner, per_picture=True)
        assert leaf.tokens.visual.sum(1).tolist() == [3] * len(visual)
        assert leaf.left_out.tolist() == [0] * len(visual)
        assert torch.isfinite(leaf.tokens.hidden).all()

    def test_flops_are_counted_per_sample(self) -> None:
        """Ranking costs are non-negative, finite, and of the shape of the token counts."""
        adapter, pruner = self.adapter(), self.make()
        tokens = np.array([20, 30, 40])
        kept, layer = np.array([8, 8, 8]), pruner.first_layer
        drop = DropCounts(adapter.spec, layer, tokens, tokens - 4, kept)
        for flops in (pruner.cost(drop), pruner.entry_cost(drop)):
            assert flops.shape == (3,)
            assert np.all(np.isfinite(flops))
            assert np.all(flops >= 0)
            assert np.all(np.diff(flops) >= 0)

    def test_a_score_costs_the_same_however_many_tokens_stay(self) -> None:
        """One ranking serves drops to different counts."""
        adapter, pruner = self.adapter(), self.make()
        if not isinstance(pruner, ScorePruner):
            pytest.skip("this pruner does not rank by a score")
        tokens, visual = np.array([20, 30, 40]), np.array([16, 26, 36])
        few, many = (
            DropCounts(adapter.spec, pruner.first_layer, tokens, visual, np.full(3, kept))
            for kept in (1, 15)
        )
        assert np.array_equal(pruner.cost(few), pruner.cost(many))

    @torch.no_grad()
    def test_what_choosing_executes_is_paid_for(self) -> None:
        """The price of a drop and of the entry is at least the FLOPs of its matrix products."""
        adapter, pruner = self.adapter(), self.ranking()
        prefill = self.prefill(adapter)
        longest = prefill.valid.sum(1).argmax()[None]
        prefill = prefill.rows(longest)
        kept = 5
        for layer in sorted({pruner.first_layer, adapter.spec.layers - 1}):
            context = context_of(adapter, prefill, layer, pruner)
            tokens, visual = (
                np.array([x]) for x in (context.hidden.shape[1], int(context.present.sum()))
            )
            # the counter knows this attention kernel only
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                chosen = pruner.select(context, torch.tensor([kept]))
            merging = (
                0.0 if chosen.weights is None else 2.0 * adapter.spec.hidden * visual[0] * kept
            )
            drop = DropCounts(adapter.spec, layer, tokens, visual, np.array([kept]))
            price = pruner.cost(drop)
            assert counter.get_total_flops() + merging <= float(price[0])
        before = enter(prefill, longest).context(adapter, 0)
        with FlopCounterMode(display=False) as counter:
            pruner.save(before)
        entry = pruner.entry_cost(DropCounts(adapter.spec, 0, tokens, visual, visual))
        assert counter.get_total_flops() <= float(entry[0])

    def test_keeps_all_or_none_if_it_says_so(self) -> None:
        """One that `withdraws` refuses a schedule that keeps a part, and rounds a searched one."""
        adapter, pruner = self.adapter(), self.make()
        if not pruner.withdraws:
            pytest.skip("this pruner ranks tokens")
        part = np.ones((1, adapter.spec.layers))
        part[:, -1] = 0.5
        with pytest.raises(InvalidValueError, match="keeps all visual tokens or none"):
            list(run_population(adapter, self.prefill(adapter), part, pruner))
        assert pruner.fitted(part[0]).tolist() == [1.0] * (adapter.spec.layers - 1) + [0.0]

    def test_settings_round_trip(self) -> None:
        """Knobs are attributes and constructor arguments of the same names, within bounds."""
        pruner = self.make()
        for knob in pruner.knobs:
            for unit in (0.0, 0.5, 1.0):
                value = knob.decode(unit)
                changed = type(pruner)(**{**pruner.settings, knob.name: value})
                assert changed.settings == {**pruner.settings, knob.name: value}
                assert changed.label != pruner.label or value == pruner.settings[knob.name]

    def test_declares_what_it_needs(self) -> None:
        """By names that `NEEDS` explains."""
        assert self.make().needs <= set(NEEDS)

    @torch.no_grad()
    def test_hard_decoder_is_the_limit_of_the_soft_one(self) -> None:
        """With the straight-through mask the soft decoder's forward pass is the pruned decoder."""
        adapter, pruner = self.adapter(), self.make()
        if not pruner.relaxable:
            pytest.skip("this pruner has no soft form")
        assert isinstance(pruner, ScorePruner)
        prefill = self.prefill(adapter)
        rows = self.ratios(adapter)
        hard = self._answers(adapter, rows)
        for i, row in enumerate(rows):
            ratios = torch.from_numpy(row).expand(len(prefill.hidden), -1)
            tokens = run_soft(adapter, prefill, ratios, pruner, tau=1.0)
            soft = adapter.head(tokens.at(prefill.prompt_end[:, None]))[:, 0]
            assert_close(soft, hard[i])

    def _answers(
        self,
        adapter: Adapter,
        rows: NDArray[np.float64],
        *,
        padding_side: str = "right",
        only: int | None = None,
    ) -> Tensor:
        """Logits of the last prompt token: [candidates, B, vocabulary]."""
        prefill = self.prefill(adapter, padding_side=padding_side)
        sample = torch.arange(len(prefill.hidden))
        if only is not None:
            sample = torch.tensor([only])
            prefill = prefill.rows(sample)
            length = int(prefill.valid.sum())
            cos, sin = prefill.rotary
            prefill = Prefill(
                prefill.hidden[:, :length],
                (cos[:, :length], sin[:, :length]),
                prefill.visual[:, :length],
                prefill.valid[:, :length],
                prefill.prompt_end,
                {name: value[:, :length] for name, value in prefill.extras.items()},
            )
        found: dict[int, Tensor] = {}
        for leaf in run_population(adapter, prefill, rows, self.make(), sample=sample):
            logits = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
            found |= dict.fromkeys(leaf.candidates, logits)
        return torch.stack([found[i] for i in range(len(rows))])
