"""Trains a mini-model on MiniVQA: `paretoprune train NAME`.

Deterministic by seed (the batch of a step depends on seed and step only) and resumable: every
few hundred steps the weights and AdamW's moments go to a safetensors file.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from paretoprune.adapters.base import Adapter
from paretoprune.experiments.training.packing import (
    IGNORE,
    PATCH_LABELS,
    PackedBatch,
    draw_batch,
    packed_mask,
)
from paretoprune.files import replacing
from paretoprune.tasks.minivqa.questions import FAMILIES, WARM_UP
from paretoprune.tasks.minivqa.vocabulary import SIZES
from paretoprune.zoo.blueprints import BLUEPRINTS

Report = Callable[[dict[str, Any]], None]
BLOCK = re.compile(r"\.(layers|blocks|layer)\.\d+\.")
"""Parameters of transformer blocks, of decoders and vision encoders."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The data that a mini-model is trained and evaluated on, and for how many steps.

    `task` is the registered task, `sizes` are rows and columns of its pictures.
    """

    task: str
    sizes: tuple[tuple[int, int], ...]
    steps: int


LESSONS = {
    "mini-llava": Lesson("minivqa", SIZES[:1], steps=6000),
    "mini-qwen2.5-vl": Lesson("minivqa-sizes", SIZES, steps=3500),
    "mini-internvl": Lesson("minivqa", SIZES[:1], steps=3500),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one training run; `steps` is set by each mini-model's blueprint."""

    steps: int = 6000
    batch: int = 16
    questions: int = 20
    peak_lr: float = 1.5e-3
    muon_lr: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    seed: int = 0
    report_every: int = 250
    checkpoint_every: int = 500

    def rate(self, step: int) -> float:
        """Learning rate as a share of its peak: linear warm-up, then a cosine to zero."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * share))

    def scenes(self, step: int) -> tuple[int, float]:
        """Most things in a scene and share of degraded pictures: small, clean scenes first."""
        progress = step / self.steps
        if progress < 0.08:
            return 4, 0.0
        if progress < 0.2:
            return 5, 0.1
        return 7, 0.3

    def auxiliary_weight(self, step: int) -> float:
        """Weight of the patch classifiers' loss, which teaches the vision encoder first."""
        return 1.0 if step < 0.2 * self.steps else 0.2


class Trainee(nn.Module):
    """A mini-model with the auxiliary patch classifiers that only training needs.

    It drives the family's adapter, so that training sees what evaluation will.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter
        self.vlm = adapter.model.train()
        hidden = adapter.spec.hidden
        self.heads = nn.ModuleDict({k: nn.Linear(hidden, n) for k, n in PATCH_LABELS.items()})

    def forward(self, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the answer logits [answers, vocabulary], their labels and the auxiliary loss."""
        adapter = self.adapter
        # what stands in front of every question: the picture and its special tokens
        inputs = adapter.inputs(batch.pictures, [""] * len(batch.pictures))
        prefix = adapter.prefill(inputs)
        picture = prefix.hidden[prefix.visual].view(len(batch.pictures), -1, adapter.spec.hidden)
        auxiliary = torch.stack(
            [
                F.cross_entropy(head(picture).flatten(0, 1), batch.patches[:, i].flatten())
                for i, head in enumerate(self.heads.values())
            ]
        ).sum()
        embed = self.vlm.get_input_embeddings()
        states = torch.cat([prefix.hidden, embed(batch.tokens)], dim=1)
        length = prefix.hidden.shape[1]
        before = adapter.positions(inputs)
        assert before is not None
        after = before.amax(-1, keepdim=True).amax(0) + 1 if before.ndim == 3 else length
        following = batch.offsets + after
        positions = torch.cat([before, following.expand(*before.shape[:-1], -1)], dim=-1)
        hidden = adapter.decoder(
            inputs_embeds=states,
            attention_mask=packed_mask(batch.segments, length),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state[:, length:]
        answered = batch.labels != IGNORE
        return self.vlm.lm_head(hidden[answered]), batch.labels[answered], auxiliary


def exact_matches(
    logits: torch.Tensor, labels: torch.Tensor, batch: PackedBatch
) -> dict[str, tuple[int, int]]:
    """Per family, (questions answered exactly, questions asked) under teacher forcing."""
    answered = batch.labels != IGNORE
    wrong = torch.zeros_like(batch.labels, dtype=torch.bool)
    wrong[answered] = logits.argmax(-1) != labels
    counts: dict[str, tuple[int, int]] = {}
    names = [*FAMILIES, *WARM_UP]
    questions = batch.segments.amax().item()
    for segment in range(1, int(questions) + 1):
        inside = batch.segments == segment
        family = (batch.families * inside).amax(1)
        right = ~(wrong & inside).any(1)
        for f, ok in zip(family.tolist(), right.tolist(), strict=True):
            good, asked = counts.get(names[f], (0, 0))
            counts[names[f]] = (good + ok, asked + 1)
    return counts


def _optimizers(trainee: Trainee, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for the rest."""
    blocks = [
        p
        for name, p in trainee.named_parameters()
        if BLOCK.search(name) and p.ndim == 2 and recipe.muon_lr > 0
    ]
    inside = {id(p) for p in blocks}
    rest = [p for p in trainee.parameters() if id(p) not in inside]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=(0.9, 0.98))
    ]
    if blocks:
        optimizers.append(
            torch.optim.Muon(
                blocks,
                lr=recipe.muon_lr,
                weight_decay=recipe.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def train(
    name: str,
    recipe: Recipe,
    folder: Path,
    report: Report,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, float]:
    """Train mini-model `name` into checkpoint directory `folder`; resumes what is there.

    Calls `report` with step, losses and exact match per family every `recipe.report_every` steps
    and `on_step` with step and loss after each. Returns the last report's exact matches (fresh
    training scenes). Raises `KeyError` for an unknown name.
    """
    sizes = LESSONS[name].sizes
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        adapter = BLUEPRINTS[name].build()
        trainee = Trainee(adapter)
    optimizers = _optimizers(trainee, recipe)
    state_file = folder / "training_state.safetensors"
    first = _resume(state_file, trainee, optimizers) if state_file.exists() else 0
    seen: dict[str, tuple[int, int]] = {}
    matches: dict[str, float] = {}
    started = time.perf_counter()
    for step in range(first, recipe.steps):
        things, degraded = recipe.scenes(step)
        batch = draw_batch(
            adapter.tokenizer,
            np.random.default_rng([recipe.seed, step]),
            grid=sizes[step % len(sizes)],
            size=recipe.batch,
            questions=recipe.questions,
            max_things=things,
            degraded_share=degraded,
        )
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * recipe.rate(step)
        logits, labels, auxiliary = trainee(batch)
        answer_loss = F.cross_entropy(logits, labels)
        loss = answer_loss + recipe.auxiliary_weight(step) * auxiliary
        trainee.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for family, (good, asked) in exact_matches(logits, labels, batch).items():
            old = seen.get(family, (0, 0))
            seen[family] = (old[0] + good, old[1] + asked)
        done = step + 1
        if on_step is not None:
            on_step(done, answer_loss.item())
        if done % recipe.report_every == 0 or done == recipe.steps:
            matches = {family: round(good / asked, 4) for family, (good, asked) in seen.items()}
            report(
                {
                    "step": done,
                    "loss": round(answer_loss.item(), 4),
                    "auxiliary": round(auxiliary.item(), 4),
                    "seconds": round(time.perf_counter() - started, 1),
                    **matches,
                }
            )
            seen = {}
        if done % recipe.checkpoint_every == 0 or done == recipe.steps:
            _save_state(state_file, trainee, optimizers, done)
            save_checkpoint(adapter, folder)
    state_file.unlink(missing_ok=True)
    return matches


def _save_state(
    file: Path, trainee: nn.Module, optimizers: list[torch.optim.Optimizer], step: int
) -> None:
    tensors = {f"model.{k}": v.contiguous() for k, v in trainee.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{index}.{k}": v.contiguous() for k, v in state.items()}
    with replacing(file) as partial:
        save_file(tensors, partial, metadata={"step": json.dumps(step)})


def _resume(file: Path, trainee: nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Load what `_save_state` wrote; return the number of steps done."""
    weights: dict[str, torch.Tensor] = {}
    states: list[dict[int, dict[str, torch.Tensor]]] = [{} for _ in optimizers]
    with safe_open(file, framework="pt") as stored:
        step = int(json.loads(stored.metadata()["step"]))
        for key in stored.keys():  # noqa: SIM118 (a safetensors handle, not a dict)
            kind, rest = key.split(".", 1)
            if kind == "model":
                weights[rest] = stored.get_tensor(key)
            else:
                index, name = rest.split(".", 1)
                states[int(kind)].setdefault(int(index), {})[name] = stored.get_tensor(key)
    trainee.load_state_dict(weights)
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step


def save_checkpoint(adapter: Adapter, folder: Path) -> None:
    """Write a Hugging Face checkpoint directory with fp16 weights, as any VLM is published."""
    folder.mkdir(parents=True, exist_ok=True)
    model = adapter.model
    copy = type(model)(model.config).to(torch.float16)
    copy.load_state_dict({k: v.to(torch.float16) for k, v in model.state_dict().items()})
    copy.save_pretrained(folder)
    adapter.tokenizer.save_pretrained(folder)
    adapter.image_processor.save_pretrained(folder)
