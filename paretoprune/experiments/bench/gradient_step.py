"""Memory and time of a gradient step, measured and as `--plan` predicts them.

A LLaVA with random weights takes real steps of the soft decoder: on CUDA the shape of
LLaVA-1.5-7B in bf16, on a CPU one scaled down. The figures do not depend on the weights. Memory is
the peak of a step with every row at the dense end of the budgets. Time is that of a step whose
budgets are spread over their range, as a search draws them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from paretoprune.adapters.base import Adapter
from paretoprune.compression.evaluator import Running
from paretoprune.compression.problem import Compression
from paretoprune.compression.step_plan import StepPlan, plan_step
from paretoprune.compression.token_relaxation import TokenRelaxation
from paretoprune.cost import DecoderSpec
from paretoprune.cost.flops import LLAVA_1_5_7B
from paretoprune.cost.memory import peak_bytes
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.registry import adapters
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.relaxation import loss_and_slope
from paretoprune.tasks.base import Sample
from paretoprune.techniques.tokens import Tokens
from paretoprune.zoo.blueprints import NORMALISED, llava_tokenizer

SMALL = DecoderSpec(512, 8, 8, 8, 64, 1376)
PICTURE, PATCH = 336, 14
"""576 visual tokens."""
QUESTION = "what is this ? " * 8
BATCH = 16
SETTINGS = ((1, True), (4, True), (16, True), (1, False), (4, False), (8, False))
"""Samples in memory at a time, and whether layers are run once more on the way back."""
TAU = 1.0
"""Width of the masks, in tokens: that of the last steps."""
DENSE_END = 0.999
GIB = 2**30


@dataclass(frozen=True)
class StepFigure:
    """One setting: what is predicted and what was measured, in bytes and seconds per step."""

    micro_batch: int
    checkpoint: bool
    planned_bytes: int
    measured_bytes: int
    planned_seconds: float
    measured_seconds: float


def run(
    console: Console,
    *,
    repeats: int = 3,
    device: str = "cpu",
    out: Path | None = None,
    spec: DecoderSpec | None = None,
    batch: int = BATCH,
    **_: object,
) -> dict[str, Any]:
    """Plan and take steps at several settings, print the table, and return all figures."""
    cuda = torch.device(device).type == "cuda"
    spec = spec or (LLAVA_1_5_7B if cuda else SMALL)
    dtype = torch.bfloat16 if cuda else torch.float32
    found = machine(device)
    console.print(one_line(found))
    figures, left_out = [], []
    with tempfile.TemporaryDirectory(prefix="paretoprune-step-") as folder:
        with console.status("building the model"):
            adapter = random_llava(spec, device, dtype, large=cuda)
            adapter.model.config.save_pretrained(folder)
            problem = noise_problem(adapter, batch)
        weights = sum(p.numel() * p.element_size() for p in adapter.model.parameters())
        for micro, checkpoint in SETTINGS:
            if micro > batch:
                continue
            with console.status(f"{micro} samples at a time, checkpoint={checkpoint}"):
                plan = _planned(folder, problem, device, dtype, batch, micro, checkpoint)
                if cuda and plan.peak > torch.cuda.get_device_properties(device).total_memory:
                    left_out.append(f"{micro} at a time with {plan.peak / GIB:.0f} GiB")
                    continue
                step = _Step(problem, micro, checkpoint)
                held = weights + peak_bytes(adapter.model.device, step.at_the_dense_end)
                seconds = _seconds(step.over_the_budgets, repeats, cuda)
            figures.append(
                StepFigure(micro, checkpoint, plan.peak, held, plan.step_seconds, seconds)
            )
    _print(console, spec, dtype, batch, figures)
    if left_out:
        console.print(f"Left out: by their plan, {' and '.join(left_out)} are more than there is.")
    result = {
        "machine": found, "spec": asdict(spec), "dtype": str(dtype).removeprefix("torch."),
        "batch": batch, "weights": weights, "figures": [asdict(f) for f in figures],
    }  # fmt: skip
    write_figures(out, result)
    return result


def random_llava(spec: DecoderSpec, device: str, dtype: torch.dtype, *, large: bool) -> Adapter:
    """An adapter of a LLaVA with this decoder and random weights; `large`: CLIP-L's encoder."""
    tokenizer = llava_tokenizer()
    text = LlamaConfig(
        vocab_size=32_064, hidden_size=spec.hidden, intermediate_size=spec.mlp,
        num_hidden_layers=spec.layers, num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads, head_dim=spec.head_dim, max_position_embeddings=4096,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    width, layers = (1024, 24) if large else (64, 2)
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, image_size=PICTURE, patch_size=PATCH,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_seq_length=(PICTURE // PATCH) ** 2,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    size = {"height": PICTURE, "width": PICTURE}
    processor = CLIPImageProcessorPil(size=size, crop_size=size, **NORMALISED)
    model.requires_grad_(False)  # as `load_problem` does
    adapter: Adapter = adapters.load("llava")(model, tokenizer, processor)
    return adapter


def noise_problem(adapter: Adapter, samples: int) -> Compression:
    """Token pruning on noise pictures, one sample per batch, no dense states kept."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (samples, PICTURE, PICTURE, 3), dtype=np.uint8)
    asked = [Sample(str(i), x, QUESTION.strip(), "no", "-") for i, x in enumerate(pictures)]
    return Compression(
        adapter,
        asked,
        Tokens(FastV()),
        allow_no_tradeoff=True,
        running=Running(batch=1, dense_bytes=0),
    )


class _Step:
    """One gradient step on all samples, as a search takes it."""

    def __init__(self, problem: Compression, micro_batch: int, checkpoint: bool) -> None:
        self._relaxed = TokenRelaxation(problem, checkpoint=checkpoint)
        self._samples = np.arange(len(problem.samples))
        self._micro_batch = micro_batch
        low, high = self._relaxed.reachable
        count = len(self._samples)
        self._dense_end = self._rows(np.full(count, low + DENSE_END * (high - low)))
        self._spread = self._rows(np.linspace(low, high, count + 2)[1:-1])

    def _rows(self, budgets: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._relaxed.constant(b) for b in budgets]))

    def at_the_dense_end(self) -> None:
        """A step that keeps nearly everything."""
        self._take(self._dense_end)

    def over_the_budgets(self) -> None:
        """A step as a search takes it."""
        self._take(self._spread)

    def _take(self, ratios: torch.Tensor) -> None:
        loss_and_slope(self._relaxed, ratios, self._samples, tau=TAU, micro_batch=self._micro_batch)


def _planned(
    folder: str,
    problem: Compression,
    device: str,
    dtype: torch.dtype,
    batch: int,
    micro: int,
    checkpoint: bool,
) -> StepPlan:
    strategy = LagrangianSearch(batch=batch, micro_batch=micro, checkpoint=checkpoint)
    plan = plan_step(
        folder, strategy, dtype=str(dtype).removeprefix("torch."), device=device,
        visual=int(problem.evaluator.visual_tokens[0]), text=int(problem.evaluator.text_tokens[0]),
    )  # fmt: skip
    return replace(plan, model="random LLaVA")


def _seconds(step: Callable[[], object], repeats: int, cuda: bool) -> float:
    """The median of a few steps, after one that warms up."""
    taken = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def _print(
    console: Console,
    spec: DecoderSpec,
    dtype: torch.dtype,
    batch: int,
    figures: list[StepFigure],
) -> None:
    name = str(dtype).removeprefix("torch.")
    table = Table(title=f"A gradient step of {batch} samples, d={spec.hidden}, {name}")
    for head in ("at a time", "layers", "GiB", "planned", "ratio", "seconds", "planned", "ratio"):
        table.add_column(head, justify="left" if head == "layers" else "right", no_wrap=True)
    for f in figures:
        table.add_row(
            str(f.micro_batch), "rerun" if f.checkpoint else "kept",
            f"{f.measured_bytes / GIB:.2f}", f"{f.planned_bytes / GIB:.2f}",
            f"{f.measured_bytes / f.planned_bytes:.2f}",
            f"{f.measured_seconds:.2f}", f"{f.planned_seconds:.2f}",
            f"{f.measured_seconds / f.planned_seconds:.2f}",
        )  # fmt: skip
    console.print(table)
