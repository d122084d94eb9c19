"""How much a reproduction runs: all of it, or the five minutes that show that it works."""

from __future__ import annotations

from typing import Literal

from paretoprune.files import StoredModel


class Scale(StoredModel):
    """Models, pruners, kernels and seeds, and the size of every search.

    `budget` is in dense-pass equivalents; `grid` names the exhaustive reference. Pruners and
    kernels beyond the first are searched on the first model alone.
    """

    name: Literal["full", "quick"]
    models: tuple[str, ...]
    pruners: tuple[str, ...]
    kernels: tuple[str, ...]
    seeds: tuple[int, ...]
    rivals: tuple[str, ...]
    search_size: int
    heldout_size: int
    budget: float
    grid: str


MODELS = ("mini-llava", "mini-qwen2.5-vl", "mini-internvl")
FULL = Scale(
    name="full",
    models=MODELS,
    pruners=("fastv", "pyramiddrop", "fitprune", "fastervlm", "divprune", "random"),
    kernels=("single-step", "multi-step", "three-step", "linear", "cosine", "sigmoid", "free"),
    seeds=(0, 1, 2, 3, 4),
    rivals=("random", "tpe", "nsga2"),
    search_size=256,
    heldout_size=512,
    budget=20.0,
    grid="grid:medium",
)
QUICK = Scale(
    name="quick",
    models=MODELS[:1],
    pruners=("fastv", "random"),
    kernels=("single-step", "multi-step", "free"),
    seeds=(0, 1),
    rivals=("random",),
    search_size=48,
    heldout_size=96,
    budget=8.0,
    grid="grid:coarse",
)
