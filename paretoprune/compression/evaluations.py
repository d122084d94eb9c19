"""Evaluations of candidates from the outcomes of their configurations on a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.configuration import Configuration
from paretoprune.compression.objectives import SCORE
from paretoprune.compression.population import left_out_metrics
from paretoprune.compression.samples import task_metrics
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.pruning.policies.base import Policy

if TYPE_CHECKING:
    from paretoprune.compression.evaluator import Row
    from paretoprune.compression.problem import Compression


def evaluation_of(
    problem: Compression,
    candidate: Candidate,
    configuration: Configuration,
    chosen: NDArray[np.bool_],
    row: Row,
    *,
    cost: float,
    executed: float,
    seconds: float,
) -> Evaluation:
    """The evaluation of a candidate that stands for the configuration `one`.

    `row` are the outcomes on the `chosen` samples, bool `[samples]`.
    """
    outcomes, divergence, left_out = row
    span = problem.dense_score - problem.text_only_score
    # the drop from dense on the same samples: exact on all, least noisy on a part
    drop = float(problem.dense_outcomes[chosen].mean() - outcomes.mean())
    costs = {name: problem.cost_model.of(name, configuration) for name in problem.costs}
    count = len(problem.samples)
    return Evaluation(
        candidate,
        objectives={
            SCORE: (problem.dense_score - drop - problem.text_only_score) / span,
            **{name: float(values.mean()) for name, values in costs.items()},
        },
        cost=cost,
        executed=executed,
        seconds=seconds,
        standard_errors={
            SCORE: float(outcomes.std(ddof=1) / np.sqrt(len(outcomes)) / span)
            if len(outcomes) > 1
            else 0.0,
            # the cost of a fixed schedule on other samples differs by their lengths alone
            **{
                name: float(values.std() / np.sqrt(count))
                if configuration.policy is not None
                else 0.0
                for name, values in costs.items()
            },
        },
        metrics={
            "accuracy": float(outcomes.mean()),
            "kl_to_dense": float(divergence.mean()),
            "lost_to_dense": float((1 - np.exp(-divergence)).mean()),
            "gflops": float(problem.cost_model.flops_of(configuration).mean() / 1e9),
            **left_out_metrics(left_out, problem.evaluator.pictures[chosen]),
            **_further_costs(problem, configuration),
            **(
                {}
                if configuration.policy is None
                else _policy_metrics(problem, configuration.policy, configuration)
            ),
            **(task_metrics(problem.task, problem.samples, outcomes) if chosen.all() else {}),
        },
        outcomes=outcomes,
        retained=np.exp(-divergence.clip(min=0)),
        detail=_detail(problem, configuration),
    )


def _further_costs(problem: Compression, configuration: Configuration) -> dict[str, float]:
    """Costs that are no objectives, and figures of the techniques."""
    names = ["kv_bytes", "visual_tokens", "compute"]
    figures: dict[str, float] = {}
    if not problem.tokens_alone:
        names += ["weight_bytes", "memory_bytes"]
        for technique in problem.techniques:
            figures |= technique.metrics(configuration.plan)
    always = ("kv_bytes", "visual_tokens") if problem.tokens_alone else ()
    wanted = [name for name in names if name in always or name not in problem.costs]
    return figures | {
        name: float(problem.cost_model.of(name, configuration).mean()) for name in wanted
    }


def _policy_metrics(
    problem: Compression, policy: Policy, configuration: Configuration
) -> dict[str, float]:
    """Budget of an adaptive policy, and the distribution of its compute over samples."""
    compute = problem.cost_model.of("compute", configuration)
    deciding = problem.cost_model.deciding_flops(policy).mean() / problem.cost_model.dense_flops
    return ({} if policy.budget is None else {"budget": policy.budget}) | {
        "compute_spread": float(compute.std()),
        "compute_lowest": float(compute.min()),
        "compute_highest": float(compute.max()),
        "deciding": float(deciding),
    }


def _detail(problem: Compression, configuration: Configuration) -> dict[str, Any]:
    keep = list(configuration.schedule.ratios)
    if not problem.tokens_alone:  # not `keep`: a schedule file alone would leave the bits out
        return {
            "schedule": keep,
            "ranked_by": configuration.pruner.label,
            "bits": dict(configuration.plan.weight_bits),
            "kv_bits": configuration.plan.kv_bits,
        }
    return {
        "keep": keep,
        "pruner": configuration.pruner.name,
        "pruner_settings": dict(configuration.pruner.settings),
        **({"per_picture": True} if problem.tokens.per_picture else {}),
        **({} if configuration.policy is None else {"policy": configuration.policy.key}),
    }
