"""Visual token pruning as a problem: relative score against relative decoder compute.

Joins the halves of the package: adapter + task + pruner + cost model on one side, search spaces and
evaluations on the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.lean import lean
from paretoprune.compression.configuration import (
    EXACT,
    Configuration,
    exact_candidate,
    exact_ratios,
    policy_candidate,
)
from paretoprune.compression.costs import COSTS, DEFAULT_OBJECTIVES, SCORE, parse_objectives
from paretoprune.compression.fidelity import chosen_samples, stratified_order
from paretoprune.compression.fingerprints import data_fingerprint, model_fingerprint
from paretoprune.compression.kept import Example
from paretoprune.compression.kept_tokens import Question, Wanted, kept_tokens
from paretoprune.compression.known import KnownOutcomes, Row
from paretoprune.compression.latency import PrefillTimer
from paretoprune.compression.population import left_out_metrics, tabulate
from paretoprune.compression.prefill_store import DEFAULT_BYTES, PrefillStore
from paretoprune.compression.presets import guests_for, published
from paretoprune.compression.sample_costs import SampleCosts
from paretoprune.compression.split import DEFAULT_DENSE_BYTES, Scoring, Split
from paretoprune.compression.teacher_forcing import batch_numbers
from paretoprune.core.capabilities import Measurement, Published
from paretoprune.core.options import listed
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import SearchSpace
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError, brief
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decide import check_layers, decide_each
from paretoprune.pruning.operators import Operators
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.static import Static
from paretoprune.pruning.tokens import enter
from paretoprune.registry import policies
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.kernels import Kernel, Withdrawal, fitting_kernels
from paretoprune.schedules.presets import Preset
from paretoprune.search.gradient.relaxation import Relaxation
from paretoprune.tasks.base import Measured, Sample
from paretoprune.tasks.scoring import TokenShare

if TYPE_CHECKING:
    from paretoprune.compression.remote import Remote

LATTICE_TOKENS = 8
"""Kept counts are multiples of this many tokens by default, so that sibling candidates meet."""
MOST_LEVELS = 72
DEFAULT_SPACE = "multi-step"
WITHOUT_ANSWERS = "; samples without answers (answers=dense) ask for what the dense model says"
EXAMPLE_SIDE = 336
"""Pixels of example pictures in a report, along the longer side."""

__all__ = ["TokenPruning", "exact_candidate", "family_scores", "policy_candidate"]


class TokenPruning(Problem):
    """How many visual tokens each decoder layer keeps, and which, on one model and task.

    `pruner` ranks the tokens; with several (`pruning.operators`), a search chooses the pruner and
    its knobs beside the schedule. `guests` are further pruners that exact candidates may name.
    `presets` are published configurations to set beside a front; what they need must be there.

    Objectives: `score`, the relative score q = (score - blind) / (dense - blind), and one or more
    costs; by default `compute`, the relative compute u = (FLOPs - blind) / (dense - blind) of the
    decoder's prefill, ranking included. Other costs (see `problems.costs`) have the dense model's
    value as reference and the blind one's as best. `spaces` holds one search space per registered
    kernel that fits the model; `left_out` says why others do not. `prefill_bytes` of prefills stay
    in memory, the rest on disk; `dense_bytes` of the dense model's hidden states and keys are kept,
    so that no population runs those layers again. With `known` set, no schedule is run twice (see
    `problems.known`). `task` adds its own figures, such as F1, to the metrics of every evaluation
    on all samples. `lean_layers=False` evaluates with the model's own layers alone (see
    `adapters.lean`), for debugging; prefills are timed and their memory measured with those in any
    case. With `per_picture` every picture of a prompt keeps at least one visual token in each layer
    whose ratio is above 0 (without, every sample does). With an `executor` its workers evaluate;
    `split` is how they know the samples.
    """

    name = "token-pruning"
    has_shares = True

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        pruner: Pruner | Sequence[Pruner] | Operators,
        *,
        heldout_samples: Sequence[Sample] | None = None,
        levels: int | None = None,
        batch: int = 64,
        model_name: str = "model",
        allow_no_tradeoff: bool = False,
        objectives: str | Sequence[str] = DEFAULT_OBJECTIVES,
        prefill_bytes: int = DEFAULT_BYTES,
        dense_bytes: int = DEFAULT_DENSE_BYTES,
        timer: PrefillTimer | None = None,
        guests: Sequence[Pruner] = (),
        presets: Sequence[Preset] = (),
        remarks: Sequence[str] = (),
        task: Measured | None = None,
        lean_layers: bool = True,
        executor: Remote | None = None,
        split: str = "search",
        per_picture: bool = False,
    ) -> None:
        samples = listed("samples", samples)
        if not isinstance(adapter, Adapter) or not isinstance((*samples, None)[0], Sample):
            raise InvalidValueError(
                "token pruning takes an adapter and one or more samples, as load_adapter(...) and "
                f"a task give them; got {brief(adapter)} and {brief(samples[:1])}"
            )
        self.adapter = adapter
        self.per_picture = per_picture
        self._engine = lean(adapter) if lean_layers else adapter
        self.operators = Operators.of(pruner)
        self.presets = tuple(presets)
        known = (*self.operators.pruners, *guests)
        self.guests = (*guests, *guests_for(self.presets, known))
        self._remarks = list(remarks)
        self._task = task
        self.samples = list(samples)
        self.batch = batch
        self.model_name = model_name
        self._heldout_samples = heldout_samples
        self._prefill_bytes = prefill_bytes
        self._dense_bytes = dense_bytes
        self._lean_layers = lean_layers
        self._order = stratified_order(self.samples)
        self._executor = executor
        self.works_ahead = executor is not None
        self._groups = batch_numbers(self._engine, self.samples, batch=batch)
        pruners = (*self.operators.pruners, *self.guests)
        self._scoring: Scoring = (
            self._split
            if executor is None
            else executor.split(
                split, self._groups, len(self.samples), pruners, per_picture=per_picture
            )
        )
        measured = self._scoring.measured
        self.visual_tokens, self.text_tokens = measured.visual_tokens, measured.text_tokens
        self.pictures = measured.pictures
        self.dense_outcomes, self.blind_outcomes = measured.outcomes
        self.dense_score, self.blind_score = (float(row.mean()) for row in measured.outcomes)
        self.sample_costs = SampleCosts(
            adapter, self.samples, pruners, visual_tokens=self.visual_tokens,
            text_tokens=self.text_tokens, question_tokens=self._question_tokens, timer=timer,
            pictures=self.pictures if per_picture else None,
        )  # fmt: skip
        self.known: KnownOutcomes | None = None
        self._decisions: dict[str, NDArray[np.float64]] = {}
        visual = int(self.visual_tokens.min())
        if levels is None:
            levels = min(MOST_LEVELS, max(1, visual // LATTICE_TOKENS))
        self.levels = levels
        fitting = fitting_kernels(adapter.spec.layers, levels, self.operators.first_layer)
        names = sorted(fitting.kernels, key=lambda name: name != DEFAULT_SPACE)
        self.kernels: dict[str, Kernel] = {name: fitting.kernels[name] for name in names}
        if all(one.withdraws for one in self.operators.pruners):
            only = Withdrawal(adapter.spec.layers, levels, self.operators.first_layer)
            self.kernels = {only.name: only, **self.kernels}  # others would repeat its schedules
        self.left_out = fitting.left_out
        self.spaces = {
            name: self.operators.joined(kernel.space) for name, kernel in self.kernels.items()
        }
        if self.dense_score <= self.blind_score and not allow_no_tradeoff:
            judged = any(isinstance(s.scoring, TokenShare) and s.answer for s in self.samples)
            raise InvalidValueError(
                f"model {self.model_name!r} scores {self.dense_score:.3f} with all visual tokens "
                f"and {self.blind_score:.3f} with none on these {len(self.samples)} samples: there "
                f"is nothing to trade off{WITHOUT_ANSWERS if judged else ''}"
            )
        self.costs = parse_objectives(objectives)[1:]
        self.objectives = (
            Objective(SCORE, "max", "relative score q", reference=0.0, best=1.0),
            *map(self._cost_objective, self.costs),
        )

    @property
    def pruner(self) -> Pruner:
        """The pruner, or the first of those that a search chooses from."""
        return self.operators.pruners[0]

    @property
    def _needs(self) -> frozenset[str]:
        return self.operators.needs.union(*(guest.needs for guest in self.guests))

    @cached_property
    def _split(self) -> Split:
        """The split in this process: with an executor, only for what workers cannot do."""
        return Split(
            self._engine, self.samples, self._groups, self.pruner, needs=self._needs,
            prefill_bytes=self._prefill_bytes, dense_bytes=self._dense_bytes,
            per_picture=self.per_picture,
        )  # fmt: skip

    @property
    def batches(self) -> PrefillStore:
        """The split's prefills, with answers."""
        return self._split.batches

    @property
    def dense_log_probabilities(self) -> list[torch.Tensor]:
        """The dense model's, of each batch, [B, answer tokens, vocabulary]."""
        return self._split.dense_log_probabilities

    # --- cost

    @property
    def dense_flops(self) -> float:
        """Decoder FLOPs of the dense model, mean over the split."""
        return self.sample_costs.dense_flops

    @property
    def blind_flops(self) -> float:
        """The same without visual tokens."""
        return self.sample_costs.blind_flops

    def _question_tokens(self) -> NDArray[np.int64]:
        found = np.zeros(len(self.samples), dtype=np.int64)
        for part in self.batches:
            _, there = enter(part.prefill, part.sample).context(self.adapter, 0).text
            found[part.sample.cpu().numpy()] = there.sum(1).cpu().numpy()
        return found

    def _cost_objective(self, name: str) -> Objective:
        """A cost with the dense model's value as reference and the blind one's as best."""
        layers = self.adapter.spec.layers
        best, reference = (self.sample_costs.mean(name, np.full(layers, k)) for k in (0.0, 1.0))
        return Objective(name, "min", COSTS[name], reference=reference, best=best)

    def price(self, candidate: Candidate) -> float:
        """FLOPs of the candidate over the samples it asks for, in dense passes over the split."""
        configuration = self.configuration(candidate)
        flops = self.sample_costs.flops(
            configuration.ratios, configuration.pruner, configuration.policy
        )
        if candidate.share < 1:
            flops = np.where(chosen_samples(self._order, candidate.share), flops, 0.0)
        return float(flops.mean() / self.dense_flops)

    # --- evaluation

    def part(self, share: float) -> NDArray[np.int64]:
        """Numbers of the samples that a candidate of this share is evaluated on, rising."""
        return np.flatnonzero(chosen_samples(self._order, share))

    def space(self, name: str | None = None) -> SearchSpace:
        """A kernel's space; says why one is missing that the model has no room for."""
        if name in self.left_out:
            raise UnsupportedError(f"{self.left_out[name]}; choose another space")
        return super().space(name)

    def configuration(self, candidate: Candidate) -> Configuration:
        """What a candidate stands for: its pruner with its settings, and its keep ratios.

        A searched schedule, and a policy's, is fitted to the pruner: layers before its first one
        stay whole. An adaptive policy is asked for every sample of this split, once.
        """
        if isinstance(candidate.policy, Policy):
            return self._decided(candidate.policy, self._with_guests.chosen(candidate.values))
        if candidate.space == EXACT:
            schedule = exact_ratios(candidate)
            pruner = self._with_guests.chosen(candidate.values)
            return Configuration(pruner, np.asarray(schedule.ratios))
        values = self.space(candidate.space).validate(candidate.values)
        pruner = self.operators.chosen(values)
        ratios = np.asarray(self.kernels[candidate.space].schedule(values).ratios)
        return Configuration(pruner, pruner.fitted(ratios))

    def _decided(self, policy: Policy, pruner: Pruner) -> Configuration:
        check_layers(policy, self.adapter.spec.layers)
        if isinstance(policy, Static):
            return Configuration(pruner, np.asarray(policy.schedule.ratios))
        name = f"{pruner.label} {policy.key}"
        if name not in self._decisions:
            self._decisions[name] = self.decisions(policy, pruner)
        return Configuration(pruner, self._decisions[name], policy)

    def decisions(
        self, policy: Policy, pruner: Pruner, *, rounded: bool = True
    ) -> NDArray[np.float64]:
        """Ask a policy what to keep of each sample: float64 `[samples, layers]`.

        On its lattice, if `rounded`, and such that `pruner` can follow.
        """
        found = np.ones((len(self.samples), policy.layers))
        with torch.inference_mode():
            for part, trunk in zip(self.batches, self._split.trunks, strict=True):
                (rows,) = decide_each(
                    self._engine, part.prefill, [(policy, pruner)],
                    sample=part.sample, trunk=trunk, rounded=rounded,
                )  # fmt: skip
                found[part.sample.cpu().numpy()] = rows
        return found

    @cached_property
    def _with_guests(self) -> Operators:
        known = self.operators.names
        new = tuple(guest for guest in self.guests if guest.name not in known)
        return Operators((*self.operators.pruners, *new))

    def policy_candidate(self, name: str, **settings: Any) -> Candidate:
        """The registered policy `name` for this decoder and lattice."""
        kind = policies.load(name)
        layers = self.adapter.spec.layers
        return policy_candidate(kind(layers=layers, levels=self.levels, **settings))

    def schedule(self, candidate: Candidate) -> KeepSchedule:
        """The keep schedule that a candidate stands for."""
        return self.configuration(candidate).schedule

    def identity(self, candidate: Candidate) -> str:
        """Pruner and ratios: different knobs may stand for the same configuration."""
        part = "" if candidate.share == 1 else f" on {candidate.share!r} of the samples"
        return f"{self.configuration(candidate).key}{part}"

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a population with shared prefixes; equal configurations are run once."""
        found: dict[int, Evaluation] = {}
        for share in dict.fromkeys(c.share for c in candidates):
            numbers = [i for i, c in enumerate(candidates) if c.share == share]
            group = [candidates[i] for i in numbers]
            found |= dict(zip(numbers, self._evaluate(group, share), strict=True))
        return [found[i] for i in range(len(candidates))]

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Send candidates to the workers ahead of `evaluate`; nothing without any."""
        if self._executor is None or self.known is not None or any(c.share < 1 for c in candidates):
            return
        distinct = {one.key: one for one in map(self.configuration, candidates)}
        table = tabulate(list(distinct.values()), len(self.samples))
        self._scoring.begin(table, np.ones(len(self.samples), dtype=np.bool_))

    def _evaluate(self, candidates: Sequence[Candidate], share: float) -> list[Evaluation]:
        started = time.perf_counter()
        each = [self.configuration(c) for c in candidates]
        distinct = {configuration.key: configuration for configuration in each}
        which = [list(distinct).index(configuration.key) for configuration in each]
        chosen = chosen_samples(self._order, share)
        rows, flops = self._rows(distinct, chosen)
        prices = np.array([self.price(c) for c in candidates])
        shares = prices / prices.sum()
        seconds = time.perf_counter() - started
        executed = flops / (self.dense_flops * len(self.samples))
        return [
            self._evaluation(
                candidate, each[i], chosen, *rows[which[i]],
                cost=float(prices[i]), executed=float(executed * shares[i]),
                seconds=float(seconds * shares[i]),
            )
            for i, candidate in enumerate(candidates)
        ]  # fmt: skip

    def _rows(
        self, distinct: Mapping[str, Configuration], chosen: NDArray[np.bool_]
    ) -> tuple[list[Row], float]:
        """Outcomes of each configuration on the chosen samples; the FLOPs run.

        What is known is not run again; what is run on the whole split becomes known.
        """
        samples = np.flatnonzero(chosen)
        known = {} if self.known is None else {key: self.known.get(key) for key in distinct}
        found: dict[str, Row] = {
            key: (row[0][samples], row[1][samples], row[2][samples])
            for key, row in known.items()
            if row is not None
        }
        new = {key: one for key, one in distinct.items() if key not in found}
        flops = 0.0
        if new:
            table = tabulate(list(new.values()), len(self.samples))
            scored = self._scoring.score(table, chosen)
            flops = scored.flops
            for of, (key, one) in zip(table.of, new.items(), strict=True):
                place = of[samples], samples
                found[key] = scored.score[place], scored.divergence[place], scored.left_out[place]
                if self.known is not None and one.policy is None and chosen.all():
                    self.known.keep(key, found[key])
        return [found[key] for key in distinct], flops

    def _evaluation(
        self,
        candidate: Candidate,
        configuration: Configuration,
        chosen: NDArray[np.bool_],
        outcomes: NDArray[np.float32],
        divergence: NDArray[np.float32],
        left_out: NDArray[np.int64],
        *,
        cost: float,
        executed: float,
        seconds: float,
    ) -> Evaluation:
        span = self.dense_score - self.blind_score
        # what is lost against dense on the same samples: exact on all, least noisy on a part
        lost = float(self.dense_outcomes[chosen].mean() - outcomes.mean())
        one, count = configuration, len(self.samples)
        each = {name: self.sample_costs.of(name, one) for name in self.costs}
        extra = {
            name: float(self.sample_costs.of(name, one).mean())
            for name in ("kv_bytes", "visual_tokens", *(() if "compute" in each else ("compute",)))
        }
        detail: dict[str, Any] = {
            "keep": list(one.schedule.ratios),
            "pruner": one.pruner.name,
            "pruner_settings": dict(one.pruner.settings),
            **({"per_picture": True} if self.per_picture else {}),
        }
        if one.policy is not None:
            detail["policy"] = one.policy.key
            extra |= policy_metrics(
                one.policy,
                self.sample_costs.of("compute", one),
                float(self.sample_costs.deciding_flops(one.policy).mean() / self.dense_flops),
            )
        return Evaluation(
            candidate,
            objectives={
                SCORE: (self.dense_score - lost - self.blind_score) / span,
                **{name: float(values.mean()) for name, values in each.items()},
            },
            cost=cost,
            executed=executed,
            seconds=seconds,
            standard_errors={
                SCORE: float(outcomes.std(ddof=1) / np.sqrt(len(outcomes)) / span)
                if len(outcomes) > 1
                else 0.0,
                # what a fixed schedule costs on other samples differs by their lengths alone
                **{
                    name: float(values.std() / np.sqrt(count)) if one.policy is not None else 0.0
                    for name, values in each.items()
                },
            },
            metrics={
                "accuracy": float(outcomes.mean()),
                "kl_to_dense": float(divergence.mean()),
                "lost_to_dense": float((1 - np.exp(-divergence)).mean()),
                "gflops": float(
                    self.sample_costs.flops(one.ratios, one.pruner, one.policy).mean() / 1e9
                ),
                **left_out_metrics(left_out, self.pictures[chosen]),
                **extra,
                **(self.task_metrics(outcomes) if chosen.all() else {}),
            },
            outcomes=outcomes,
            retained=np.exp(-divergence.clip(min=0)),
            detail=detail,
        )

    def task_metrics(self, outcomes: NDArray[np.float32]) -> dict[str, float]:
        """The task's own figures, such as accuracy+ or F1, of outcomes float32 `[samples]`."""
        return dict(self._task.metrics(self.samples, outcomes)) if self._task else {}

    # --- what is measured, not predicted

    def measure(self, candidates: Sequence[Candidate]) -> Measurement | None:
        """Prefill latency and time to first token, where latency is an objective.

        Of fixed schedules: an adaptive policy has no single one to time, and gets no values.
        """
        if "latency_ms" not in self.costs or not candidates:
            return None
        return self.sample_costs.timer.measured_again([self.configuration(c) for c in candidates])

    def examples(
        self,
        candidates: Mapping[str, Candidate],
        count: int,
        *,
        observe: Callable[[int, int], None] | None = None,
    ) -> list[Example]:
        """What candidates keep of the first sample of each of `count` question families.

        [] where the model's family does not say where its visual tokens stand.
        """
        first = {sample.family: sample for sample in reversed(self.samples)}
        chosen = [s for s in self.samples if first[s.family] is s][:count]
        found = {label: self.configuration(c) for label, c in candidates.items()}
        wanted = [Wanted(label, c.policy or c.schedule, c.pruner) for label, c in found.items()]
        shown = []
        for done, sample in enumerate(chosen):
            if observe is not None:
                observe(done, len(chosen))
            try:
                kept = kept_tokens(
                    self.adapter, Question.of(sample), wanted,
                    model_name=self.model_name, most_side=EXAMPLE_SIDE,
                    per_picture=self.per_picture,
                )  # fmt: skip
            except UnsupportedError:
                return []
            shown.append(kept)
        return shown

    def published(self) -> list[Published]:
        """The presets, carried to this model's depth."""
        return published(self.presets, self.adapter.spec.layers)

    def notes(self) -> list[str]:
        """What was left out, the dense model's figures, and errors of the latency model."""
        remarks = [*self._remarks, *self._dense_figures()]
        if "latency_ms" not in self.costs:
            return remarks
        return [*remarks, self.sample_costs.timer.note(self.operators.pruners)]

    def _dense_figures(self) -> list[str]:
        figures = self.task_metrics(self.dense_outcomes)
        if not figures:
            return []
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        return [f"The dense model on these {len(self.samples)} samples: {told}."]

    # --- what strategies may ask beyond evaluations

    def relaxation(self) -> Relaxation:
        """The soft decoder on this split.

        Raises `UnsupportedError` for unsuitable pruners and for costs other than FLOPs, which are
        the only one that is differentiated.
        """
        if self.costs != ("compute",):
            named = ", ".join(self.costs).replace("compute", "flops")
            raise UnsupportedError(
                f"gradient strategies differentiate the cost 'flops' alone, not {named}; choose a "
                "sampler such as 'tpe' or 'nsga2', or the objectives score,flops"
            )
        if self.operators.only is None:
            raise UnsupportedError(
                "gradient strategies search the schedule of one pruner, not the choice of "
                f"{', '.join(self.operators.names)} and their knobs; choose a sampler such as "
                "'tpe' or 'nsga2', or name one pruner"
            )
        return self._relaxation

    @cached_property
    def _relaxation(self) -> Relaxation:
        from paretoprune.compression.token_relaxation import TokenRelaxation

        return TokenRelaxation(self)

    def probe(self, statistic: str, samples: int) -> NDArray[np.float64]:
        """`attention` or `withdrawal` statistics, see `Problem.probe`."""
        measure, _ = self._probe(statistic)
        found: NDArray[np.float64] = measure(self, self._order[:samples])
        return found

    def probe_price(self, statistic: str, samples: int) -> float:
        """FLOPs of the passes that `probe` needs, each alone, in dense passes over the split."""
        _, price = self._probe(statistic)
        return price(self, self._order[:samples])

    def _probe(self, statistic: str) -> tuple[Callable[..., Any], Callable[..., float]]:
        from paretoprune.compression import probe

        known = {
            "attention": (probe.attention_received, probe.attention_price),
            "withdrawal": (probe.withdrawal_divergence, probe.withdrawal_price),
        }
        if statistic not in known:
            raise UnknownNameError("statistic", statistic, known)
        return known[statistic]

    @cached_property
    def _heldout(self) -> TokenPruning | None:
        if self._heldout_samples is None:
            return None
        timed = not {"latency_ms", "peak_memory_bytes"}.isdisjoint(self.costs)
        return TokenPruning(
            self.adapter, self._heldout_samples, self.operators, guests=self.guests,
            levels=self.levels, batch=self.batch, model_name=self.model_name,
            objectives=(SCORE, *self.costs), prefill_bytes=self._prefill_bytes,
            dense_bytes=self._dense_bytes, lean_layers=self._lean_layers, task=self._task,
            executor=self._executor, split="heldout", per_picture=self.per_picture,
            timer=self.sample_costs.timer if timed else None,
        )  # fmt: skip

    @property
    def heldout(self) -> TokenPruning | None:
        """The same problem on the held-out split."""
        return self._heldout

    def relative(self, outcomes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Outcomes on a scale of 0, the blind model's mean, to 1, the dense model's."""
        found: NDArray[np.float64] = np.asarray(outcomes, dtype=np.float64) - self.blind_score
        return found / (self.dense_score - self.blind_score)

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the samples of both splits, and of the model's weights (first values)."""
        found = {"search": data_fingerprint(self.samples)}
        if self._heldout_samples is not None:
            found["heldout"] = data_fingerprint(self._heldout_samples)
        return found | {"model": model_fingerprint(self.adapter.model)}

    def parts(self, outcomes: NDArray[np.float32]) -> Mapping[str, float]:
        """Mean outcome per question family."""
        return family_scores(self.samples, outcomes)

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and the reference figures."""
        return {
            "problem": self.name,
            "model": self.model_name,
            "family": self.adapter.family,
            "pruner": ",".join(self.operators.names),
            **self._described_knobs(),
            **({"per_picture": True} if self.per_picture else {}),
            "layers": self.adapter.spec.layers,
            "levels": self.levels,
            "objectives": [SCORE, *self.costs],
            "visual_tokens": float(self.visual_tokens.mean()),
            "samples": len(self.samples),
            "first_sample": self.samples[0].id,
            "dense_score": self.dense_score,
            "blind_score": self.blind_score,
            "dense_parts": dict(self.parts(self.dense_outcomes)),
            "dense_gflops": self.dense_flops / 1e9,
            "blind_gflops": self.blind_flops / 1e9,
        }

    def _described_knobs(self) -> dict[str, Any]:
        """Settings of pruners that are not searched, by pruner where there are several."""
        settings = {p.name: dict(p.settings) for p in self.operators.pruners if p.knobs}
        found: dict[str, Any] = {}
        if settings:
            one = len(self.operators.pruners) == 1
            found["pruner_settings"] = settings[self.pruner.name] if one else settings
        if self.operators.knobs:
            found["searched_with"] = [knob.name for knob in self.operators.knobs]
        return found


def policy_metrics(
    policy: Policy, compute: NDArray[np.float64], deciding: float
) -> dict[str, float]:
    """Whether an adaptive policy keeps its budget: what it aims at, and how samples differ.

    `compute` float64 `[samples]` is relative compute, whose mean is what the policy achieved;
    `deciding` its own FLOPs, as a share of the dense model's.
    """
    target = {} if policy.budget is None else {"budget": policy.budget}
    return target | {
        "compute_spread": float(compute.std()),
        "compute_lowest": float(compute.min()),
        "compute_highest": float(compute.max()),
        "deciding": deciding,
    }


def family_scores(samples: Sequence[Sample], outcomes: NDArray[np.float32]) -> Mapping[str, float]:
    """Mean outcome per question family; `outcomes` is float32 `[samples]`."""
    found: dict[str, list[float]] = {}
    for sample, outcome in zip(samples, outcomes, strict=True):
        found.setdefault(sample.family, []).append(float(outcome))
    return {family: float(np.mean(values)) for family, values in found.items()}
