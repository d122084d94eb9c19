"""Does a pruned prefill save time as it saves FLOPs? 576 visual tokens, LLaVA-1.5's shape.

On a CPU the shape is scaled down (d = 1024, 16 layers); on CUDA it is the 7B decoder in bf16. The
weights are random: what is timed does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.model_access import rotary_tables
from paretoprune.cost import DecoderSpec, layer_cost
from paretoprune.cost.flops import LLAVA_1_5_7B
from paretoprune.cost.timing import interleaved
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.pruning.base import ranking_cost
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.registry import adapters
from paretoprune.schedules import keep_counts

VISUAL = 576
TEXT = 36
SMALL = DecoderSpec(1024, 16, 16, 16, 64, 2752)
TARGETS = (0.75, 0.5, 0.25)
BATCHES = (1, 4)
"""Samples in one prefill: a single request, and a small batch."""
ALLOWED = 1.15
"""Most that the time ratio may be above the FLOP ratio."""


@dataclass(frozen=True)
class PrefillFigure:
    """One schedule at one batch size: its FLOPs and median time in parts of the dense prefill's.

    `products_ratio` is the time of the layers' matrix products alone, on as many tokens, in parts
    of the dense prefill's: what the processor makes of smaller matrices, before any work of ours.
    """

    shape: str
    batch: int
    target: float
    flop_ratio: float
    time_ratio: float
    products_ratio: float
    median_ms: float
    spread_ms: float

    @property
    def excess(self) -> float:
        """Time ratio over FLOP ratio."""
        return self.time_ratio / self.flop_ratio


def run(
    console: Console,
    *,
    repeats: int = 5,
    device: str = "cpu",
    out: Path | None = None,
    spec: DecoderSpec | None = None,
    **_: object,
) -> dict[str, Any]:
    """Time dense and pruned prefills taking turns, print the table, and return all figures."""
    cuda = torch.device(device).type == "cuda"
    spec = spec or (LLAVA_1_5_7B if cuda else SMALL)
    dtype = torch.bfloat16 if cuda else torch.float32
    found = machine(device)
    console.print(one_line(found))
    adapter = random_decoder(spec, device, dtype)
    plans = [("dense", 1.0, np.ones(spec.layers))]
    for target in TARGETS:
        plans += [(name, target, shape(spec, target)) for name, shape in SHAPES.items()]
    figures = []
    for batch in BATCHES:
        prefill = random_prefill(adapter, device, dtype, batch)

        def one(ratios: NDArray[np.float64], prefill: Prefill = prefill) -> Callable[[], object]:
            return lambda: list(run_population(adapter, prefill, ratios[None], FastV()))

        def products(ratios: NDArray[np.float64], batch: int = batch) -> Callable[[], object]:
            tokens = keep_counts(ratios, np.array([VISUAL]))[:, 0] + TEXT
            return lambda: matrix_products(adapter, batch * tokens)

        with torch.inference_mode(), console.status(f"timing, batch {batch}"):
            timed = interleaved(
                [call(ratios) for call in (one, products) for _, _, ratios in plans],
                repeats=repeats,
                warmup=1,
                synchronize=torch.cuda.synchronize if cuda else None,
            )
        whole, alone = timed[: len(plans)], timed[len(plans) :]
        figures += [
            PrefillFigure(
                name,
                batch,
                target,
                flop_ratio(spec, ratios),
                time_ratio=t.median_ms / whole[0].median_ms,
                products_ratio=p.median_ms / alone[0].median_ms,
                median_ms=t.median_ms,
                spread_ms=t.spread_ms,
            )
            for (name, target, ratios), t, p in zip(plans, whole, alone, strict=True)
        ]
    _print(console, spec, figures)
    result = {"machine": found, "spec": asdict(spec), "figures": [asdict(f) for f in figures]}
    write_figures(out, result)
    return result


def random_decoder(spec: DecoderSpec, device: str, dtype: torch.dtype) -> Adapter:
    """An adapter of a model with a decoder of this shape, random weights and a token vocabulary."""
    text = LlamaConfig(
        vocab_size=128,
        hidden_size=spec.hidden,
        intermediate_size=spec.mlp,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        max_position_embeddings=4096,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=28, patch_size=14, projection_dim=32,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(
                LlavaConfig(vision_config=vision, text_config=text, vision_feature_layer=-1)
            )
    finally:
        torch.set_default_dtype(before)
    factory = adapters.load("llava")
    adapter: Adapter = factory(model, None, None)
    return adapter


def random_prefill(adapter: Adapter, device: str, dtype: torch.dtype, batch: int = 1) -> Prefill:
    """`batch` samples of `VISUAL` tokens of a picture, then `TEXT` of text."""
    length = VISUAL + TEXT
    generator = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(
        batch, length, adapter.spec.hidden, generator=generator, device=device, dtype=dtype
    )
    positions = torch.arange(length, device=device).repeat(batch, 1)
    return Prefill(
        hidden=hidden,
        rotary=rotary_tables(adapter, hidden, positions),
        visual=positions < VISUAL,
        valid=torch.ones_like(positions, dtype=torch.bool),
        prompt_end=torch.full((batch,), length - 1, device=device),
    )


def matrix_products(adapter: Adapter, tokens: NDArray[np.int64]) -> None:
    """Run every linear map of layer l on `tokens[l]` tokens, and nothing else."""
    for layer, count in zip(adapter.decoder.layers, tokens, strict=True):
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module(module.weight.new_ones(1, int(count), module.in_features))


# --- schedules that meet a FLOP ratio


def flop_ratio(spec: DecoderSpec, ratios: NDArray[np.float64]) -> float:
    """FLOPs of a prefill under ratios `[layers]`, rankings included, in parts of the dense one."""
    kept = keep_counts(ratios, np.array([VISUAL]))[:, 0]
    before = np.concatenate([[VISUAL], kept[:-1]])
    ranked = before[(kept < before) & (kept > 0)]
    ranking = float(np.sum(ranking_cost(FastV(), spec, ranked + TEXT, ranked)))
    dense = spec.layers * float(layer_cost(spec, VISUAL + TEXT))
    return (float(layer_cost(spec, kept + TEXT).sum()) + ranking) / dense


def _met(
    spec: DecoderSpec, target: float, shape: Callable[[float], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """`shape` at the parameter in 0..1 whose FLOP ratio is `target`, as near as counts allow."""
    return shape(float(brentq(lambda r: flop_ratio(spec, shape(r)) - target, 0.0, 1.0, xtol=1e-4)))


def _steps(spec: DecoderSpec, starts: list[int], keeps: list[float]) -> NDArray[np.float64]:
    ratios = np.ones(spec.layers)
    for start, keep in zip(starts, keeps, strict=True):
        ratios[start:] = keep
    return ratios


def single_step(spec: DecoderSpec, target: float) -> NDArray[np.float64]:
    """FastV: one drop before the third layer of 16 (an eighth of the depth)."""
    return _met(spec, target, lambda r: _steps(spec, [spec.layers // 8], [r]))


def stages(spec: DecoderSpec, target: float) -> NDArray[np.float64]:
    """PyramidDrop: the same share of what is left at each of four layers."""
    starts = [spec.layers * k // 8 for k in (1, 3, 5, 7)]
    return _met(spec, target, lambda r: _steps(spec, starts, [r, r**2, r**3, r**4]))


def multi_step(spec: DecoderSpec, target: float) -> NDArray[np.float64]:
    """Two drops: a light one early, a heavy one at half of the depth."""
    starts = [spec.layers // 8, spec.layers // 2]
    return _met(spec, target, lambda r: _steps(spec, starts, [r, r**3]))


SHAPES = {
    "FastV single-step": single_step,
    "PyramidDrop stages": stages,
    "multi-step": multi_step,
}


def _print(console: Console, spec: DecoderSpec, figures: list[PrefillFigure]) -> None:
    for batch in BATCHES:
        of = [f for f in figures if f.batch == batch]
        table = Table(
            title=f"Pruned prefill, {VISUAL} visual and {TEXT} text tokens, d={spec.hidden}, "
            f"{spec.layers} layers, batch {batch}"
        )
        for head in ("schedule", "FLOPs", "time", "products", "time/FLOPs", "ms", "± ms"):
            table.add_column(head, justify="left" if head == "schedule" else "right", no_wrap=True)
        for f in of:
            table.add_row(
                f.shape, f"{f.flop_ratio:.0%}", f"{f.time_ratio:.1%}", f"{f.products_ratio:.1%}",
                f"{f.excess:.2f}", f"{f.median_ms:.1f}", f"{f.spread_ms:.1f}",
            )  # fmt: skip
        console.print(table)
        worst = max(of, key=lambda f: f.excess)
        verdict = "within" if worst.excess <= ALLOWED else "above"
        console.print(
            f"largest time ratio over FLOP ratio at batch {batch}: {worst.excess:.2f} "
            f"({worst.shape} at {worst.target:.0%}), {verdict} the {ALLOWED} that is allowed; of "
            f"its matrix products alone: {worst.products_ratio / worst.flop_ratio:.2f}"
        )
