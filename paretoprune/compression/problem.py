"""Compression as a problem: a model, a task, and techniques that compress it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter
from paretoprune.compression.configuration import (
    EXACT,
    Configuration,
    exact_candidate,
    policy_candidate,
)
from paretoprune.compression.cost_model import CostModel
from paretoprune.compression.evaluations import evaluation_of
from paretoprune.compression.evaluator import Evaluator, Running
from paretoprune.compression.kept import Example
from paretoprune.compression.kept_tokens import Wanted, kept_examples
from paretoprune.compression.objectives import (
    COSTS,
    SCORE,
    cost_objective,
    default_objectives,
    parse_objectives,
    score_objective,
)
from paretoprune.compression.planner import Planner, checked_techniques
from paretoprune.compression.samples import (
    data_fingerprint,
    family_scores,
    model_fingerprint,
    task_metrics,
)
from paretoprune.compression.statistics import statistic_of
from paretoprune.core.capabilities import Measurement, Published
from paretoprune.core.options import listed, whole_number
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import SearchSpace
from paretoprune.errors import InvalidValueError, UnsupportedError, brief
from paretoprune.pruning.operators import pruner_of
from paretoprune.registry import policies
from paretoprune.tasks.base import Measured, Sample
from paretoprune.tasks.scoring import TokenShare
from paretoprune.techniques.base import Target, Technique
from paretoprune.techniques.tokens import Tokens

if TYPE_CHECKING:
    from paretoprune.compression.token_relaxation import TokenRelaxation

WITHOUT_ANSWERS = "; samples without answers (answers=dense) ask for what the dense model says"
DEFAULT_SEQUENCES = 4


class Compression(Problem):
    """One model on one task, compressed by one technique or several.

    With one technique the spaces and knobs are its own. With several the space `joint` has the
    knobs of all, named `technique.knob`, and a space per technique leaves the others dense; all are
    points of the same problem, so that their fronts compare.

    Objectives: `score`, the relative score q = (score - text-only) / (dense - text-only), and one
    or more costs of `compression.objectives`. A cost has the dense model's value as reference and
    the smallest plan's as best. The default cost is `compute` where tokens alone are searched: the
    relative FLOPs u = (FLOPs - text-only) / (dense - text-only) of the decoder's prefill, ranking
    included. It is `weight_bytes` where weight bits alone are searched. Else it is `memory_bytes`,
    of the weights and the KV cache of `sequences` samples.

    `task` adds its own figures, such as F1, to the metrics of evaluations on all samples. `remarks`
    are notes. `search` is the problem that this one is the held-out split of.
    """

    name = "compression"
    has_shares = True
    adapter: Adapter
    samples: list[Sample]
    techniques: tuple[Technique, ...]
    tokens: Tokens
    """Token pruning; it keeps all visual tokens if it is not searched."""
    evaluator: Evaluator
    planner: Planner
    cost_model: CostModel

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        techniques: Technique | Sequence[Technique],
        *,
        objectives: str | Sequence[str] | None = None,
        heldout_samples: Sequence[Sample] | None = None,
        model_name: str = "model",
        task: Measured | None = None,
        remarks: Sequence[str] = (),
        allow_no_tradeoff: bool = False,
        sequences: int = DEFAULT_SEQUENCES,
        running: Running | None = None,
        split: str = "search",
        search: Compression | None = None,
    ) -> None:
        samples = listed("samples", samples)
        if not isinstance(adapter, Adapter) or not isinstance((*samples, None)[0], Sample):
            raise InvalidValueError(
                "compression takes an adapter and one or more samples, as load_adapter(...) and "
                f"a task give them; got {brief(adapter)} and {brief(samples[:1])}"
            )
        self.techniques = checked_techniques(techniques)
        if search is None:  # copies: binding one to this model leaves those of other problems alone
            self.techniques = tuple(map(copy.copy, self.techniques))
        names = [technique.name for technique in self.techniques]
        self.costs = parse_objectives(
            default_objectives(names) if objectives is None else objectives
        )[1:]
        whole_number("the number of sequences in the cache", sequences, 1)
        searched = [t for t in self.techniques if isinstance(t, Tokens)]
        self.tokens = searched[0] if searched else Tokens() if search is None else search.tokens
        self.adapter = adapter
        self.samples = list(samples)
        self.model_name = model_name
        self._heldout_samples = heldout_samples
        self._remarks = list(remarks)
        self.task = task
        self.evaluator = Evaluator(
            adapter, self.samples, self.techniques, self.tokens, running=running or Running(),
            split=split,
        )  # fmt: skip
        self.works_ahead = self.evaluator.running.executor is not None
        self.dense_outcomes = self.evaluator.dense_outcomes
        self.text_only_outcomes = self.evaluator.text_only_outcomes
        self.dense_score = float(self.dense_outcomes.mean())
        self.text_only_score = float(self.text_only_outcomes.mean())
        self.scale = (self.text_only_score, self.dense_score)
        self.cost_model = CostModel(
            self.evaluator, self.techniques, self.tokens, sequences=sequences,
            shared=None if search is None else search.cost_model,
        )  # fmt: skip
        self.planner = Planner(self.techniques, self.tokens, self.evaluator.decisions)
        self.tokens_alone = self.techniques == (self.tokens,)
        if search is None:
            fewest = int(self.evaluator.visual_tokens.min())
            for technique in {id(t): t for t in (*self.techniques, self.tokens)}.values():
                technique.bind(Target(adapter.model, adapter, fewest))
        self.spaces = self.planner.spaces()
        self._check_tradeoff(allow_no_tradeoff)
        self.cost_model.check(self.costs)
        self.objectives = (score_objective(), *map(self._cost_objective, self.costs))

    def _check_tradeoff(self, allowed: bool) -> None:
        if self.dense_score <= self.text_only_score and not allowed:
            judged = any(isinstance(s.scoring, TokenShare) and s.answer for s in self.samples)
            raise InvalidValueError(
                f"model {self.model_name!r} scores {self.dense_score:.3f} with all visual tokens "
                f"and {self.text_only_score:.3f} with none on these {len(self.samples)} samples: "
                f"there is nothing to trade off{WITHOUT_ANSWERS if judged else ''}"
            )

    def _cost_objective(self, name: str) -> Objective:
        best, reference = (
            float(self.cost_model.of(name, one).mean())
            for one in (self.planner.smallest(), self.planner.dense())
        )
        if name == "latency_ms" and not self.tokens_alone:
            best = 0.0  # fewer bits are not always faster
        return cost_objective(name, dense=reference, smallest=best)

    # --- configurations of candidates

    def space(self, name: str | None = None) -> SearchSpace:
        """A space by name; says why one is missing that the model has no room for."""
        for technique in self.techniques:
            if name is not None and name in technique.left_out:
                raise UnsupportedError(f"{technique.left_out[name]}; choose another space")
        return super().space(name)

    def configuration(self, candidate: Candidate) -> Configuration:
        """The configuration of a candidate: plan, pruner with its settings, keep ratios.

        Techniques outside its space are dense. An adaptive policy decides once for every sample of
        this split.
        """
        if candidate.policy is not None:
            return self.planner.of_policy(candidate)
        if candidate.space == EXACT:
            return self.planner.exact(candidate)
        values = self.space(candidate.space).validate(candidate.values)
        return self.planner.of_point(candidate.space, values)

    def identity(self, candidate: Candidate) -> str:
        """Pruner, ratios and bits: different knobs may stand for the same configuration."""
        part = "" if candidate.share == 1 else f" on {candidate.share!r} of the samples"
        return f"{self.configuration(candidate).key}{part}"

    def price(self, candidate: Candidate) -> float:
        """FLOPs of the candidate over the samples it asks for, in dense passes over the split."""
        return self.cost_model.price(self.configuration(candidate), candidate.share)

    # --- evaluation

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a population: those of one variant share prefixes, equal ones are run once."""
        each = [self.configuration(candidate) for candidate in candidates]
        groups: dict[tuple[float, str], list[int]] = {}
        for number, (candidate, one) in enumerate(zip(candidates, each, strict=True)):
            groups.setdefault((candidate.share, one.variant), []).append(number)
        found: dict[int, Evaluation] = {}
        for (share, _), numbers in groups.items():
            started = time.perf_counter()
            distinct = {each[i].key: each[i] for i in numbers}
            chosen = self.evaluator.chosen(share)
            rows, flops = self.evaluator.rows(distinct, chosen)
            by_key = dict(zip(distinct, rows, strict=True))
            prices = np.array([self.cost_model.price(each[i], share) for i in numbers])
            seconds = time.perf_counter() - started
            executed = flops / (self.cost_model.dense_flops * len(self.samples))
            for i, price, part in zip(numbers, prices, prices / prices.sum(), strict=True):
                found[i] = evaluation_of(
                    self, candidates[i], each[i], chosen, by_key[each[i].key],
                    cost=float(price), executed=float(executed * part),
                    seconds=float(seconds * part),
                )  # fmt: skip
        return [found[i] for i in range(len(candidates))]

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Send candidates to the workers ahead of `evaluate`; nothing without any."""
        if not any(candidate.share < 1 for candidate in candidates):
            self.evaluator.begin([self.configuration(candidate) for candidate in candidates])

    # --- the data

    @cached_property
    def _heldout(self) -> Compression | None:
        if self._heldout_samples is None:
            return None
        return Compression(
            self.adapter, self._heldout_samples, self.techniques, objectives=(SCORE, *self.costs),
            model_name=self.model_name, task=self.task, sequences=self.cost_model.sequences,
            running=self.evaluator.running, split="heldout", search=self,
        )  # fmt: skip

    @property
    def heldout(self) -> Compression | None:
        """The same problem on the held-out split."""
        return self._heldout

    def parts(self, outcomes: NDArray[np.float32]) -> Mapping[str, float]:
        """Mean outcome per question family."""
        return family_scores(self.samples, outcomes)

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the samples of both splits, and of the model's weights (first values)."""
        found = {"search": data_fingerprint(self.samples)}
        if self._heldout_samples is not None:
            found["heldout"] = data_fingerprint(self._heldout_samples)
        return found | {"model": model_fingerprint(self.adapter.model)}

    def notes(self) -> list[str]:
        """Notes on parts left out, the dense model's figures, and the latency model's errors."""
        remarks = [*self._remarks]
        figures = task_metrics(self.task, self.samples, self.dense_outcomes)
        if figures:
            values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            count = len(self.samples)
            remarks.append(f"The dense model on these {count} samples: {values}.")
        if "latency_ms" in self.costs:
            remarks.append(self.cost_model.latency_note())
        return remarks

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and the reference figures."""
        evaluator, costs = self.evaluator, self.cost_model
        return {
            "problem": self.name,
            "model": self.model_name,
            "family": self.adapter.family,
            **(self.tokens.describe() if self.tokens in self.techniques else {}),
            **({} if self.tokens_alone else self._described_techniques()),
            "objectives": [SCORE, *self.costs],
            "visual_tokens": float(evaluator.visual_tokens.mean()),
            "samples": len(self.samples),
            "first_sample": self.samples[0].id,
            "dense_score": self.dense_score,
            "blind_score": self.text_only_score,
            "dense_parts": dict(self.parts(self.dense_outcomes)),
            "dense_gflops": costs.dense_flops / 1e9,
            "blind_gflops": costs.text_only_flops / 1e9,
        }

    def _described_techniques(self) -> dict[str, Any]:
        dense = self.planner.dense()
        bytes_ = [name for name in COSTS if name in ("kv_bytes", "weight_bytes", "memory_bytes")]
        return {
            "layers": self.adapter.spec.layers,
            "techniques": {t.name: t.describe() for t in self.techniques},
            "sequences": self.cost_model.sequences,
            **{f"dense_{n}": float(self.cost_model.of(n, dense).mean()) for n in bytes_},
        }

    # --- further capabilities

    def measure(self, candidates: Sequence[Candidate]) -> Measurement | None:
        """Latency again, measured, where it is an objective.

        Of fixed schedules: an adaptive policy has no single one to time, and gets no values.
        """
        if "latency_ms" not in self.costs or not candidates:
            return None
        return self.cost_model.measure([self.configuration(c) for c in candidates])

    def examples(
        self,
        candidates: Mapping[str, Candidate],
        count: int,
        *,
        observe: Callable[[int, int], None] | None = None,
    ) -> list[Example]:
        """Tokens that candidates keep of the first sample of each of `count` question families.

        [] where the model's family does not say where its visual tokens stand, and with further
        techniques.
        """
        if not self.tokens_alone:
            return []
        found = {label: self.configuration(c) for label, c in candidates.items()}
        return kept_examples(
            self.adapter, self.samples, count,
            [Wanted(label, c.policy or c.schedule, c.pruner) for label, c in found.items()],
            model_name=self.model_name, per_picture=self.tokens.per_picture, observe=observe,
        )  # fmt: skip

    def published(self) -> list[Published]:
        """The presets of the technique `tokens`, carried to this model's depth."""
        return [
            Published(
                p.name, p.summary, exact_candidate(p.schedule(self.tokens.layers), pruner_of(p))
            )
            for p in self.tokens.presets
        ]

    def policy_candidate(self, name: str, **settings: Any) -> Candidate:
        """The registered policy `name` for this decoder and lattice."""
        kind = policies.load(name)
        return policy_candidate(
            kind(layers=self.tokens.layers, levels=self.tokens.levels, **settings)
        )

    def relaxation(self) -> TokenRelaxation:
        """The soft decoder on this split.

        Raises `UnsupportedError` where it cannot be differentiated (see `TokenRelaxation`).
        """
        return self._relaxation

    @cached_property
    def _relaxation(self) -> TokenRelaxation:
        from paretoprune.compression.token_relaxation import TokenRelaxation

        return TokenRelaxation(self)

    def probe(self, statistic: str, samples: int) -> NDArray[np.float64]:
        """`attention` or `withdrawal` statistics, see `core.capabilities.HasStatistics`."""
        measure, _ = statistic_of(statistic)
        found: NDArray[np.float64] = measure(self, self.evaluator.first(samples))
        return found

    def probe_price(self, statistic: str, samples: int) -> float:
        """FLOPs of the passes that `probe` needs, each alone, in dense passes over the split."""
        _, price = statistic_of(statistic)
        return price(self, self.evaluator.first(samples))
