"""Builds the quantisation problems from names, as the command line does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paretoprune.compression import joint, quantisation
from paretoprune.compression.joint import JointCompression
from paretoprune.compression.load import (
    DEFAULT_HELDOUT_SIZE,
    DEFAULT_MODEL,
    DEFAULT_SEARCH_SIZE,
    load_problem,
)
from paretoprune.compression.quantisation import PictureData, Quantisation, parse_objectives
from paretoprune.compression.text_data import (
    TextData,
    load_causal,
    read_windows,
    sees,
    split_windows,
)
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.operators import Named
from paretoprune.techniques.bits.packed import BITS, quantizer

TEXT_SUFFIXES = (".txt", ".md")


def load_quantisation(
    model: str = DEFAULT_MODEL,
    *,
    task: str | None = None,
    search_size: int | None = None,
    heldout_size: int | None = None,
    data_seed: int = 0,
    batch: int = 64,
    bits: Sequence[int] = BITS,
    objectives: str | Sequence[str] = quantisation.DEFAULT_OBJECTIVES,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
) -> Quantisation:
    """Weight quantisation of a model by name.

    Vision-language models and their tasks are those of `load_problem`. A causal language model
    takes a text file as `task`, of which `search_size` and `heldout_size` windows are read. Raises
    `MissingDependencyError` without HQQ, before anything loads.
    """
    parse_objectives(objectives)
    quantizer()
    loading: dict[str, Any] = {
        "dtype": dtype, "device": device, "attn": attn, "trust_remote_code": trust_remote_code,
    }  # fmt: skip
    if sees(model, trust_remote_code):
        tokens = load_problem(
            model, task=task, search_size=search_size, heldout_size=heldout_size,
            data_seed=data_seed, batch=batch, **loading,
        )  # fmt: skip
        return Quantisation(PictureData(tokens), bits=bits, objectives=objectives)
    if task is None or not task.endswith(TEXT_SUFFIXES):
        raise InvalidValueError(
            f"model {model!r} is a language model: give --task a text file "
            f"({' or '.join(TEXT_SUFFIXES)}), got {task!r}"
        )
    causal, tokenizer = load_causal(model, **loading)
    windows = read_windows(Path(task), tokenizer)
    search, heldout = split_windows(
        windows,
        DEFAULT_SEARCH_SIZE if search_size is None else search_size,
        DEFAULT_HELDOUT_SIZE if heldout_size is None else heldout_size,
    )
    data = TextData(causal, search, heldout_windows=heldout, name=model)
    return Quantisation(data, bits=bits, objectives=objectives)


def load_joint(
    model: str = DEFAULT_MODEL,
    *,
    task: str | None = None,
    pruner: Named = "fastv",
    search_knobs: bool | None = None,
    search_size: int | None = None,
    heldout_size: int | None = None,
    data_seed: int = 0,
    levels: int | None = None,
    batch: int = 64,
    objectives: str | Sequence[str] = joint.DEFAULT_OBJECTIVES,
    sequences: int = joint.DEFAULT_SEQUENCES,
    per_picture: bool = False,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
) -> JointCompression:
    """Joint compression of a vision-language model on a task, by name, as `load_problem`.

    Raises `MissingDependencyError` without HQQ, before anything loads.
    """
    parse_objectives(objectives, joint.COSTS, joint.ALIASES)
    quantizer()
    tokens = load_problem(
        model, task=task, pruner=pruner, search_knobs=search_knobs, search_size=search_size,
        heldout_size=heldout_size, data_seed=data_seed, levels=levels, batch=batch, dtype=dtype,
        device=device, attn=attn, trust_remote_code=trust_remote_code, per_picture=per_picture,
    )  # fmt: skip
    return JointCompression(tokens, objectives=objectives, sequences=sequences)
