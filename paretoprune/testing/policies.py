"""The contract suite of policies: subclass `PolicyContract` as `TestX` and define `make`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.cost import DecoderSpec, layer_cost
from paretoprune.deploy.views import pruned
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, PruningContext, choosing_cost
from paretoprune.pruning.decide import decide_each
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.files import read_policy, write_policy
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import keep_counts
from paretoprune.testing import pytest
from paretoprune.testing.models import assert_same_without_cache, question_batch, tiny_llava
from paretoprune.testing.pruners import context_of

ATOL = 1e-5
"""Tolerance of logits: norms compute in float32, and other shapes add in another order."""


class PolicyContract(ABC):
    """Contract of every policy, checked on a tiny random LLaVA in float64."""

    @abstractmethod
    def make(self, spec: DecoderSpec) -> Policy:
        """Build a policy for a decoder; the same at each call, whatever was drawn before."""

    def adapter(self) -> Adapter:
        """Build the model of these tests; override for a family that has what the policy needs."""
        return tiny_llava()

    def pruner(self) -> Pruner:
        """Build the pruner."""
        return FastV()

    def prefill(self, adapter: Adapter, samples: int = 3, side: str = "right") -> Prefill:
        """Prefill samples with prompts of different lengths."""
        with torch.no_grad():
            return adapter.prefill(question_batch(adapter, samples, padding_side=side))

    def context(self, adapter: Adapter, prefill: Prefill, policy: Policy) -> PruningContext:
        """The policy's inputs."""
        with torch.no_grad():
            return context_of(adapter, prefill, policy.layer)

    @pytest.mark.parametrize("side", ["left", "right"])
    @torch.no_grad()
    def test_each_sample_gets_its_own_schedule_whatever_else_is_in_the_batch(
        self, side: str
    ) -> None:
        """Keep schedules of the right shape; alone a sample gets the one that it got in a batch."""
        adapter = self.adapter()
        policy, prefill = self.make(adapter.spec), self.prefill(adapter, side=side)
        together = policy.schedules(self.context(adapter, prefill, policy))
        assert together.shape == (3, adapter.spec.layers)
        for row in range(3):
            alone = self.context(adapter, prefill.rows(slice(row, row + 1)), policy)
            assert np.allclose(policy.schedules(alone)[0], together[row], atol=1e-9)

    @torch.no_grad()
    def test_what_stands_behind_the_prompt_plays_no_part(self) -> None:
        """An answer that is appended for scoring does not change the kept tokens."""
        adapter = self.adapter()
        policy = self.make(adapter.spec)
        prefill = self.prefill(adapter)
        early = prefill.prompt_end - 1
        shorter = Prefill(
            prefill.hidden, prefill.rotary, prefill.visual, prefill.valid, early, prefill.extras
        )
        behind = torch.arange(prefill.hidden.shape[1])[None] > early[:, None]
        other = torch.where(behind[..., None], -2.0 * prefill.hidden, prefill.hidden)
        changed = Prefill(
            other, prefill.rotary, prefill.visual, prefill.valid, early, prefill.extras
        )
        one, two = (
            policy.schedules(self.context(adapter, given, policy)) for given in (shorter, changed)
        )
        assert np.allclose(one, two, atol=1e-9)

    @torch.no_grad()
    def test_evaluated_together_it_equals_one_by_one(self) -> None:
        """Batched with other schedules, every sample's logits are those it has alone."""
        adapter = self.adapter()
        policy, prefill = self.make(adapter.spec), self.prefill(adapter)
        (rows,) = decide_each(adapter, prefill, [(policy, self.pruner())])
        fixed = np.ones((1, adapter.spec.layers))
        fixed[0, 2:] = 0.5
        ratios = np.concatenate([rows, fixed])
        wanted = np.concatenate([np.eye(3, dtype=bool), np.ones((1, 3), dtype=bool)])
        shared = self._logits(adapter, prefill, ratios, wanted)
        for sample in range(3):
            one = prefill.rows(slice(sample, sample + 1))
            (again,) = decide_each(adapter, one, [(policy, self.pruner())])
            alone = self._logits(adapter, one, again, np.ones((1, 1), dtype=bool))
            assert torch.allclose(shared[sample, sample], alone[0, 0], atol=ATOL)

    @torch.no_grad()
    def test_its_flops_equal_the_flop_counter(self) -> None:
        """Deciding, ranking and layers: stated FLOPs equal the counted ones of matrix products."""
        adapter, pruner = self.adapter(), self.pruner()
        policy, prefill = self.make(adapter.spec), self.prefill(adapter, 1)
        asked = self.context(adapter, prefill, policy).text[1].sum(1).numpy()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            (rows,) = decide_each(adapter, prefill, [(policy, pruner)])
            list(run_population(adapter, prefill, rows, pruner))
        visual = prefill.visual.sum(1).numpy()
        text = prefill.valid.sum(1).numpy() - visual
        kept = keep_counts(rows, visual)
        expected = layer_cost(adapter.spec, kept + text).sum()
        # without a trunk the layers that the policy looks behind are run twice here
        expected += policy.layer * layer_cost(adapter.spec, visual + text).sum()
        expected += choosing_cost(pruner, adapter.spec, text, visual, kept).sum()
        expected += policy.flops(adapter.spec, text + visual, visual, asked).sum()
        assert counter.get_total_flops() == pytest.approx(float(expected), rel=1e-12)

    @torch.no_grad()
    def test_a_saved_policy_decides_alike(self, tmp_path: Path) -> None:
        """Written and read again it has the same name by content and gives the same schedules."""
        adapter = self.adapter()
        policy, prefill = self.make(adapter.spec), self.prefill(adapter)
        assert self.make(adapter.spec).key == policy.key
        write_policy(tmp_path / "p.json", policy, pruner=self.pruner().name)
        again = read_policy(tmp_path / "p.json").policy
        assert again.key == policy.key
        context = self.context(adapter, prefill, policy)
        assert np.allclose(again.schedules(context), policy.schedules(context), atol=1e-9)

    @torch.no_grad()
    def test_a_pruned_model_decides_alike(self) -> None:
        """`pruned(model, policy)` keeps the same tokens as evaluation, and answers alike."""
        adapter = self.adapter()
        policy = self.make(adapter.spec)
        inputs = question_batch(adapter, padding_side="left")
        view = pruned(adapter.model, policy, self.pruner())
        logits = view(**inputs).logits[:, -1]
        prefill = adapter.prefill(inputs)
        (rows,) = decide_each(adapter, prefill, [(policy, self.pruner())])
        assert np.allclose(view.pruning.decided, rows, atol=1e-9)
        wanted = np.eye(len(rows), dtype=bool)
        expected = self._logits(adapter, prefill, rows, wanted)
        for sample in range(len(rows)):
            assert torch.allclose(logits[sample], expected[sample, sample], atol=ATOL)

    @pytest.mark.parametrize("beams", [1, 2])
    def test_without_a_cache_it_decides_as_at_the_prompt(self, beams: int) -> None:
        """Tokens that were generated have no say in how much is kept."""
        adapter = self.adapter()
        view = pruned(adapter.model, self.make(adapter.spec), self.pruner())
        inputs = question_batch(adapter, padding_side="left")
        assert_same_without_cache(view, adapter, inputs, num_beams=beams)

    def test_its_budget_can_be_chosen_or_it_says_that_it_has_none(self) -> None:
        """`at` keeps everything else; another budget is another policy."""
        policy = self.make(self.adapter().spec)
        if policy.budget is None:
            with pytest.raises(UnsupportedError, match="no budget"):
                policy.at(0.5)
            return
        other = policy.at(policy.budget / 2)
        assert other.budget == policy.budget / 2
        assert other.key != policy.key
        assert other.at(policy.budget).key == policy.key

    def _logits(
        self,
        adapter: Adapter,
        prefill: Prefill,
        ratios: NDArray[np.float64],
        wanted: NDArray[np.bool_],
    ) -> dict[tuple[int, int], torch.Tensor]:
        """Next-token logits by schedule and sample."""
        found: dict[tuple[int, int], torch.Tensor] = {}
        for leaf in run_population(adapter, prefill, ratios, self.pruner(), wanted=wanted):
            ends = prefill.prompt_end[torch.from_numpy(leaf.rows)]
            logits = adapter.head(leaf.tokens.at(ends[:, None]))[:, 0]
            for place, row in enumerate(leaf.rows.tolist()):
                found |= {(i, row): logits[place] for i in leaf.candidates if wanted[i, row]}
        return found
