"""Statistics of the dense model, for strategies that choose a schedule from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.compression.teacher_forcing import AnsweredBatch
from paretoprune.cost import attention_query_flops
from paretoprune.errors import UnknownNameError
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fitprune import FitPrune
from paretoprune.pruning.tokens import enter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paretoprune.compression.problem import Compression


def attention_received(problem: Compression, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Attention that visual tokens receive: float64 `[2, chosen, layers, tokens]`, NaN for none.

    From the visual tokens, then from the question; maximum over heads, mean over queries, as in
    FitPrune (arXiv 2409.10197). Queries run in blocks: no [T, T] matrix of all heads arises.
    """
    adapter, pruner = problem.adapter, FitPrune()
    layers, most = adapter.spec.layers, int(problem.evaluator.visual_tokens.max())
    found = np.full((2, len(problem.samples), layers, most), np.nan)
    with torch.inference_mode():
        for part in _parts(problem, chosen):
            rows = part.sample.cpu().numpy()
            tokens = enter(part.prefill, part.sample)
            for layer in range(layers):
                tokens = tokens.run(adapter, layer)
                context = tokens.context(adapter, layer + 1)  # its attention is that of `layer`
                received = (
                    pruner.received(context, context.visual, context.keep_mask),
                    pruner.received(context, *context.text),
                )
                for kind, values in enumerate(received):
                    values = values.double().masked_fill(~context.present, torch.nan)
                    found[kind, rows, layer, : values.shape[1]] = values.cpu().numpy()
    return found[:, chosen]


def attention_price(problem: Compression, chosen: NDArray[np.int64]) -> float:
    """One dense pass over the samples, and a query per token and layer once more."""
    layers = problem.adapter.spec.layers
    tokens = (problem.evaluator.text_tokens + problem.evaluator.visual_tokens)[chosen]
    queries = layers * tokens * attention_query_flops(problem.adapter.spec, tokens)
    dense = problem.cost_model.flops(np.ones(layers))[chosen]
    return _passes(problem, float((dense + queries).sum()))


def withdrawal_divergence(problem: Compression, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """KL(dense || withdrawn) at the first answer token, in nats: float64 `[layers]`.

    Entry K is the mean over samples where all visual tokens leave before layer K (VTW, arXiv
    2405.05803). Entry 0 is the text-only model's.
    """
    layers = problem.adapter.spec.layers
    divergence = np.zeros((layers, len(problem.samples)))
    with torch.inference_mode():
        for part in _parts(problem, chosen):
            rows = part.sample.cpu().numpy()
            schedules = np.concatenate([_withdrawals(layers), np.ones((1, layers))])
            answers: dict[int, torch.Tensor] = {}
            for leaf in run_population(
                problem.adapter, part.prefill, schedules, problem.tokens.pruner,
                sample=part.sample, answers=part.positions,
            ):  # fmt: skip
                first = part.log_probabilities(problem.adapter, leaf.tokens)[:, 0].double()
                answers |= dict.fromkeys(leaf.candidates, first)
            dense = answers[layers]
            for layer in range(layers):
                apart = (dense.exp() * (dense - answers[layer])).sum(-1)
                divergence[layer, rows] = apart.cpu().numpy()
    return np.asarray(divergence[:, chosen].mean(1))


def withdrawal_price(problem: Compression, chosen: NDArray[np.int64]) -> float:
    """A dense pass over the samples and one of each withdrawal, each charged as if run alone."""
    layers = problem.adapter.spec.layers
    schedules = [*_withdrawals(layers), np.ones(layers)]
    return _passes(
        problem, float(sum(problem.cost_model.flops(row)[chosen].sum() for row in schedules))
    )


def _withdrawals(layers: int) -> NDArray[np.float64]:
    """Row K keeps all before layer K and none from there on: `[layers, layers]`."""
    return np.tril(np.ones((layers, layers)), -1)


def _passes(problem: Compression, flops: float) -> float:
    return flops / (problem.cost_model.dense_flops * len(problem.samples))


def _parts(problem: Compression, chosen: NDArray[np.int64]) -> Iterator[AnsweredBatch]:
    """The chosen samples, as far as each batch has any."""
    wanted = torch.zeros(len(problem.samples), dtype=torch.bool)
    wanted[torch.from_numpy(chosen)] = True
    for part in problem.evaluator.batches:
        here = wanted.to(part.sample.device)[part.sample]
        if bool(here.any()):
            yield part.rows(here)


STATISTICS: dict[str, tuple[Callable[..., Any], Callable[..., float]]] = {
    "attention": (attention_received, attention_price),
    "withdrawal": (withdrawal_divergence, withdrawal_price),
}
"""Each statistic's function and cost, by name."""


def statistic_of(name: str) -> tuple[Callable[..., Any], Callable[..., float]]:
    """A statistic and its price, functions of a problem and sample numbers."""
    if name not in STATISTICS:
        raise UnknownNameError("statistic", name, STATISTICS)
    return STATISTICS[name]
