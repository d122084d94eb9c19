"""The contract suite of adapters: subclass `AdapterContract` as `TestX` and define `make`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.model_access import position_arguments
from paretoprune.adapters.prompts import token_inputs, visual_mask
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.adapters.verify import verify
from paretoprune.cost import decoder_cost
from paretoprune.deploy.views import pruned
from paretoprune.pruning.decoder import Leaf, run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.base import Visual
from paretoprune.testing import pytest
from paretoprune.testing.agreement import TOLERANCE, assert_close
from paretoprune.testing.models import (
    QUESTIONS,
    assert_same_without_cache,
    random_pictures,
)

NEW = 5
"""Tokens that the generation tests generate."""


class AdapterContract(ABC):
    """Contract of every adapter, on a small model in float64 unless a test says otherwise."""

    tolerance: ClassVar[dict[torch.dtype, float]] = {
        dtype: TOLERANCE[str(dtype).removeprefix("torch.")]
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    }
    """Largest difference in logits, as a share of the largest logit."""
    takes_several: ClassVar[bool] = True
    """Whether one prompt may show several pictures."""

    @abstractmethod
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        """Build the adapter of a small model, 3 decoder layers or more; same weights always."""

    def visuals(self) -> list[Visual]:
        """Pictures of three prompts; sizes differ where the family keeps them."""
        first, second, third = random_pictures(3)
        return [first, second[:64], third]

    def prompts(self) -> list[str]:
        """Three prompts of different lengths that the tokenizer knows."""
        return list(QUESTIONS)

    # --- helpers

    def inputs(self, adapter: Adapter, side: str = "left") -> Any:
        """Model inputs of the three prompts."""
        return adapter.inputs(self.visuals(), self.prompts(), padding_side=side)

    def dense(self, adapter: Adapter, inputs: Any) -> Tensor:
        """Logits of the unmodified model, at the positions that `generate` would count."""
        positions = position_arguments(adapter, inputs)
        logits: Tensor = adapter.model(**inputs, **positions, use_cache=False).logits
        return logits

    def schedule(self, adapter: Adapter) -> KeepSchedule:
        """All tokens in layer 0, half of them in layer 1, a quarter behind it."""
        return KeepSchedule((1.0, 0.5, *[0.25] * (adapter.spec.layers - 2)))

    def keep_all(self, adapter: Adapter, inputs: Any) -> tuple[Prefill, Tensor]:
        """The prefill, and logits of the driven layers at its valid tokens, row by row."""
        prefill = adapter.prefill(inputs)
        leaf = self.run(adapter, prefill, KeepSchedule((1.0,) * adapter.spec.layers))
        return prefill, adapter.head(leaf.tokens.hidden)

    def run(self, adapter: Adapter, prefill: Prefill, schedule: KeepSchedule) -> Leaf:
        """The pruned decoder's output of a batch under one schedule, ranked by FastV."""
        (leaf,) = run_population(adapter, prefill, np.array([schedule.ratios]), FastV())
        return leaf

    def require_dense(self, adapter: Adapter, inputs: Any) -> Prefill:
        """Assert that keep-all gives the unmodified model's logits; returns the prefill."""
        dense = self.dense(adapter, inputs)
        prefill, driven = self.keep_all(adapter, inputs)
        for row in range(len(dense)):
            positions = prefill.valid[row].nonzero()[:, 0]
            self.agree(adapter, driven[row, : len(positions)], dense[row, positions])
        return prefill

    def agree(self, adapter: Adapter, one: Tensor, other: Tensor) -> None:
        """Assert that logits agree within the tolerance of the coarser of their dtypes."""
        coarse = one.dtype if one.dtype != other.dtype else adapter.model.dtype
        assert_close(one, other, self.tolerance[coarse])

    # --- prefill and layers

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("side", ["left", "right"])
    @torch.no_grad()
    def test_keep_all_equals_dense(self, side: str, dtype: torch.dtype) -> None:
        """Invariant 1: logits are the unmodified model's, sizes mixed, padding on either side."""
        adapter = self.make(dtype)
        self.require_dense(adapter, self.inputs(adapter, side))

    @torch.no_grad()
    def test_a_batch_equals_its_samples_alone(self) -> None:
        """Padding and neighbours change nothing."""
        adapter = self.make()
        prefill, together = self.keep_all(adapter, self.inputs(adapter))
        for i, (visual, prompt) in enumerate(zip(self.visuals(), self.prompts(), strict=True)):
            _, alone = self.keep_all(adapter, adapter.inputs([visual], [prompt]))
            length = int(prefill.valid[i].sum())
            self.agree(adapter, together[i, :length], alone[0, :length])

    @torch.no_grad()
    def test_drop_all_leaves_text_only(self) -> None:
        """With ratio 0 everywhere the picture has no influence at all."""
        adapter = self.make()
        text_only = KeepSchedule((0.0,) * adapter.spec.layers)
        found = []
        for seed in (0, 1):
            picture = random_pictures(1, seed=seed)
            prefill = adapter.prefill(adapter.inputs(picture, self.prompts()[:1]))
            leaf = self.run(adapter, prefill, text_only)
            assert not leaf.tokens.visual.any()
            assert leaf.tokens.length == int((prefill.valid & ~prefill.visual).sum())
            found.append(leaf.tokens.hidden)
        self.agree(adapter, *found)

    @torch.no_grad()
    def test_each_sample_keeps_its_share_of_its_own_count(self) -> None:
        """Kept counts follow each sample's number of visual tokens, halves rounded up."""
        adapter = self.make()
        prefill = adapter.prefill(self.inputs(adapter))
        leaf = self.run(adapter, prefill, self.schedule(adapter))
        counts = prefill.visual.sum(1)
        assert torch.equal(leaf.tokens.visual.sum(1), (counts * 0.25 + 0.5).floor().long())

    @torch.no_grad()
    def test_kept_tokens_keep_their_positions(self) -> None:
        """Rotary tables of kept tokens (M-RoPE's three parts included) are the original ones."""
        adapter = self.make()
        prefill = adapter.prefill(self.inputs(adapter))
        leaf = self.run(adapter, prefill, self.schedule(adapter))
        for row in range(len(prefill.valid)):
            length = int(leaf.tokens.validity[row].sum())
            positions = leaf.tokens.origin[row, :length]
            for mine, original in zip(leaf.tokens.rotary, prefill.rotary, strict=True):
                assert torch.equal(mine[row, :length], original[row, positions])

    @torch.no_grad()
    def test_analytic_flops_equal_the_flop_counter(self) -> None:
        """The cost model's dimensions are the model's (one sequence, MATH attention)."""
        adapter = self.make()
        prefill = adapter.prefill(adapter.inputs(self.visuals()[:1], self.prompts()[:1]))
        schedule = KeepSchedule((1.0,) * adapter.spec.layers)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.run(adapter, prefill, schedule)
        length = prefill.hidden.shape[1]
        tokens = np.full(adapter.spec.layers, length, dtype=np.int64)
        assert counter.get_total_flops() == decoder_cost(adapter.spec, tokens)

    def test_verification_finds_no_fault(self) -> None:
        """The checks of `paretoprune check-model`, attention scores included."""
        found = verify(self.make())
        assert found.problem is None
        assert found.attention is None or found.attention < 1e-5

    @pytest.mark.parametrize("side", ["left", "right"])
    @torch.no_grad()
    def test_visual_tokens_belong_to_numbered_pictures(self, side: str) -> None:
        """From 0 in every prompt, in order; text belongs to none."""
        adapter = self.make()
        prefill = prefill_for(adapter, self.inputs(adapter, side))
        number = prefill.extras[PICTURE][..., 0]
        assert number.dtype == torch.int64
        assert torch.equal(number >= 0, prefill.visual)
        for row, visual in zip(number, prefill.visual, strict=True):
            steps = row[visual].diff(prepend=torch.tensor([0], device=row.device))
            assert bool(((steps == 0) | (steps == 1)).all())

    @torch.no_grad()
    def test_several_pictures_in_one_prompt(self) -> None:
        """Visual tokens of all of them are found, and keep-all equals dense."""
        if not self.takes_several:
            pytest.skip("this family takes one picture a prompt")
        adapter = self.make()
        pictures = random_pictures(3)
        inputs = adapter.inputs([pictures[:2], pictures[2]], self.prompts()[:2])
        prefill = self.require_dense(adapter, inputs)
        assert int(prefill.visual.sum(1).min()) > 0

    # --- pruned generation

    def forced(self, adapter: Adapter, inputs: Any, said: Tensor, end: Tensor) -> Tensor:
        """Logits of the pruned decoder, without any cache, for the tokens behind `end`.

        `said` int64 [B, T] are prompt and generated tokens; `inputs` those of the prompt.
        """
        new = said.shape[1] - inputs["input_ids"].shape[1]
        mask = torch.cat([inputs["attention_mask"], torch.ones(len(said), new).long()], 1)
        whole = {
            **inputs,
            **token_inputs(adapter, said),
            "input_ids": said,
            "attention_mask": mask,
        }
        prefill = adapter.prefill(whole, end)
        leaf = self.run(adapter, prefill, self.schedule(adapter))
        positions = said.shape[1] - new - 1 + torch.arange(new)
        return adapter.head(leaf.tokens.at(positions.expand(len(said), -1)))

    def no_pictures(self, adapter: Adapter) -> dict[str, Any]:
        """Options of `generate` that keep a random model from saying image tokens."""
        return {"suppress_tokens": list(adapter.visual_token_ids)}

    def ends(self, inputs: Any) -> Tensor:
        """Index of the last prompt token under left padding."""
        ids = inputs["input_ids"]
        return torch.full((len(ids),), ids.shape[1] - 1)

    @torch.no_grad()
    def test_pruned_generate_equals_pruned_teacher_forcing(self) -> None:
        """Invariant 2, token by token: the KV cache changes nothing."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        inputs = self.inputs(adapter)
        out = view.generate(
            **inputs, **self.no_pictures(adapter), max_new_tokens=NEW, do_sample=False,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        logits = torch.stack(out.logits, dim=1)
        expected = self.forced(adapter, inputs, out.sequences, self.ends(inputs))
        self.agree(adapter, logits, expected)
        expected[..., list(adapter.visual_token_ids)] = -torch.inf
        said = expected.gather(2, out.sequences[:, -NEW:, None])
        self.agree(adapter, said[..., 0], expected.amax(-1))
        dense = adapter.model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
        assert dense.shape == out.sequences.shape

    @torch.no_grad()
    def test_each_layer_caches_what_it_kept(self) -> None:
        """Tokens held by layer l: text, generated ones, and the schedule's share of visual ones."""
        adapter = self.make()
        schedule = self.schedule(adapter)
        view = pruned(adapter.model, schedule)
        inputs = adapter.inputs(self.visuals()[:1], self.prompts()[:1])
        out = view.generate(
            **inputs, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True
        )
        cache = out.past_key_values
        visual = int(visual_mask(adapter, inputs["input_ids"]).sum())
        text = inputs["input_ids"].shape[1] - visual + NEW - 1
        counts = schedule.counts(visual) + text
        assert cache.held == counts.tolist()
        assert cache.get_seq_length() == out.sequences.shape[1] - 1
        spec = adapter.spec
        assert cache.nbytes == 2 * spec.kv_heads * spec.head_dim * 8 * int(counts.sum())

    @torch.no_grad()
    def test_beam_search_scores_are_those_of_its_sequences(self) -> None:
        """Beams carry their own cache along: scores recomputed without a cache are equal."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        inputs = self.inputs(adapter)
        out = view.generate(
            **inputs, **self.no_pictures(adapter), max_new_tokens=NEW, num_beams=3,
            do_sample=False, length_penalty=1.0, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        said = out.sequences
        logits = self.forced(adapter, inputs, said, self.ends(inputs))
        picked = logits.log_softmax(-1).gather(2, said[:, -NEW:, None])[..., 0]
        # generate() scores in float32
        assert torch.allclose(picked.sum(1).float() / NEW, out.sequences_scores, atol=1e-5)

    @pytest.mark.parametrize("beams", [1, 3])
    def test_generation_without_a_cache_gives_the_same_tokens(self, beams: int) -> None:
        """Each step runs prompt and answer anew, and still the last prompt token ranks."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        assert_same_without_cache(view, adapter, self.inputs(adapter), num_beams=beams)

    @torch.no_grad()
    def test_sampling_is_reproducible(self) -> None:
        """The same seed samples the same tokens, and several sequences differ."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        inputs = self.inputs(adapter)
        found = []
        for _ in range(2):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                found.append(
                    view.generate(
                        **inputs, max_new_tokens=NEW, do_sample=True, num_return_sequences=2
                    )
                )
        assert torch.equal(*found)
        assert not torch.equal(found[0][0], found[0][1])

    @torch.no_grad()
    def test_a_later_question_goes_on_with_the_cache(self) -> None:
        """Two turns on one cache equal one pass over both in which the first question pruned."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        inputs = adapter.inputs(self.visuals()[:1], self.prompts()[:1])
        options = {**self.no_pictures(adapter), "max_new_tokens": NEW, "do_sample": False}
        first = view.generate(**inputs, **options, return_dict_in_generate=True)
        later = adapter.tokenizer(self.prompts()[1], add_special_tokens=False)["input_ids"]
        ids = torch.cat([first.sequences, torch.tensor([later])], dim=1)
        second = view.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **token_inputs(adapter, ids),
            past_key_values=first.past_key_values, **options, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        start = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        expected = self.forced(adapter, start, second.sequences, self.ends(inputs))
        self.agree(adapter, torch.stack(second.logits, dim=1), expected)

    @torch.no_grad()
    def test_forward_of_a_view_equals_the_pruned_decoder(self) -> None:
        """`view(**inputs, prompt_end=...)` scores answers under the schedule, any padding."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        for side in ("left", "right"):
            inputs = self.inputs(adapter, side)
            prefill = adapter.prefill(inputs)
            leaf = self.run(adapter, prefill, self.schedule(adapter))
            expected = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
            positions = position_arguments(adapter, inputs)
            logits = view(**inputs, **positions, prompt_end=prefill.prompt_end).logits
            batch = torch.arange(len(logits))
            self.agree(adapter, logits[batch, prefill.prompt_end], expected)

    # --- the user's model

    @torch.no_grad()
    def test_views_and_the_model_can_be_used_in_turn(self) -> None:
        """Two views and the dense model side by side: each as if alone, the model unchanged."""
        adapter = self.make()
        model, inputs = adapter.model, self.inputs(adapter)
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        kinds = [type(m) for m in model.modules()]
        dense = self.dense(adapter, inputs)  # transformers may set hooks of its own here
        hooks = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
        layers = adapter.spec.layers
        half = pruned(model, [1.0] + [0.5] * (layers - 1))
        none = pruned(model, [1.0] + [0.0] * (layers - 1))
        once = [half(**inputs).logits, none(**inputs).logits]
        again = [none(**inputs).logits, half(**inputs).logits]
        self.agree(adapter, once[0], again[1])
        self.agree(adapter, once[1], again[0])
        assert not torch.allclose(once[0], once[1])
        self.agree(adapter, self.dense(adapter, inputs), dense)
        assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
        assert [type(m) for m in model.modules()] == kinds
        assert hooks == sum(
            len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()
        )

    def test_a_view_shares_every_tensor(self) -> None:
        """No parameter is copied."""
        adapter = self.make()
        view = pruned(adapter.model, self.schedule(adapter))
        mine = {k: v.data_ptr() for k, v in view.named_parameters()}
        assert mine == {k: v.data_ptr() for k, v in adapter.model.named_parameters()}
        assert isinstance(view, type(adapter.model))
