"""A causal language model on plain text as a problem: bits per group of weights."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.compression.objectives import (
    SCORE,
    cost_objective,
    default_objectives,
    parse_objectives,
    score_objective,
)
from paretoprune.compression.quantised_latency import QuantisedTimer
from paretoprune.core.capabilities import Measurement
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.cost.memory import held_bytes
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.files import read_text
from paretoprune.techniques.base import Plan, Target
from paretoprune.techniques.weight_bits import WeightBits
from paretoprune.zoo.load import DTYPES, FOREIGN, find_checkpoint, without_loading_bar

WINDOW = 128
"""Tokens of one sample."""
TEXT_SUFFIXES = (".txt", ".md")
COSTS = ("weight_bytes", "latency_ms")


class TextQuantisation(Problem):
    """Weight bits of a language model on windows of text, int64 [samples, window].

    A sample's outcome is its agreement: the share of positions where the most likely next token is
    that of the model as loaded (the complement of the flips of Dutta et al., Accuracy is Not All
    You Need, arXiv 2407.09141). It needs no labels; the dense model's is 1, and 0 is worth nothing.
    Perplexity is a metric. Objectives: `score`, `weight_bytes`, and `latency_ms` of one forward
    pass, predicted from measured times of its layers and measured again for the final front.
    """

    name = "compression"

    def __init__(
        self,
        model: Any,
        windows: Tensor,
        technique: WeightBits,
        *,
        objectives: str | Sequence[str] | None = None,
        heldout_windows: Tensor | None = None,
        batch: int = 8,
        model_name: str = "model",
        timer: QuantisedTimer | None = None,
    ) -> None:
        names = default_objectives([technique.name]) if objectives is None else objectives
        self.costs = parse_objectives(names, COSTS)[1:]
        self.model, self.windows, self.technique = model, windows, technique
        self.model_name = model_name
        self._batch = batch
        self._heldout_windows = heldout_windows
        self._given_timer = timer
        self._bytes: dict[str, int] = {}
        technique.bind(Target(model))
        self.spaces = dict(technique.knobs())
        self._likeliest, losses = self._run(model)
        self.dense_perplexity = math.exp(float(losses.mean()))
        self.objectives = (score_objective(), *map(self._cost_objective, self.costs))

    def _cost_objective(self, name: str) -> Objective:
        dense, smallest = self.technique.dense(Plan()), self.technique.smallest(Plan())
        best = 0.0 if name == "latency_ms" else self._cost(name, smallest)
        return cost_objective(name, dense=self._cost(name, dense), smallest=best)

    @cached_property
    def timer(self) -> QuantisedTimer:
        """Times forward passes of the first window; the held-out split's is the same."""
        inputs = {"input_ids": self.windows[:1].to(self.model.device)}
        return self._given_timer or QuantisedTimer(
            self.technique.quantiser, inputs, self.technique.bits
        )

    def plan(self, candidate: Candidate) -> Plan:
        """The bits of every linear layer; raises `UnsupportedError` for a policy."""
        if candidate.policy is not None:
            raise UnsupportedError(
                "of a language model this problem evaluates points, not policies"
            )
        values = self.space(candidate.space).validate(candidate.values)
        return self.technique.apply(Plan(), candidate.space, values)

    def identity(self, candidate: Candidate) -> str:
        """The bits of all layers: spaces meet where they agree."""
        return self.technique.variant(self.plan(candidate))

    def _cost(self, name: str, plan: Plan) -> float:
        if name == "latency_ms":
            return self.timer.predict_ms(plan.weight_bits)
        key = self.technique.variant(plan)
        if key not in self._bytes:
            self._bytes[key] = held_bytes(self.technique.view(self.model, plan))
        return float(self._bytes[key])

    @torch.inference_mode()
    def _run(self, model: Any) -> tuple[Tensor, NDArray[np.float64]]:
        """Most likely next tokens [samples, window - 1], and mean losses in nats [samples]."""
        likeliest, losses = [], []
        for part in self.windows.split(self._batch):
            ids = part.to(model.device)
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            likeliest.append(logits.argmax(-1).cpu())
            loss = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:], reduction="none"
            )
            losses.append(loss.mean(1).double().cpu().numpy())
        return torch.cat(likeliest), np.concatenate(losses)

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Run each distinct choice of bits once over the split; each costs one dense pass."""
        plans = [self.plan(candidate) for candidate in candidates]
        keys = [self.technique.variant(plan) for plan in plans]
        known: dict[str, tuple[NDArray[np.float32], float, float]] = {}
        for key, plan in zip(keys, plans, strict=True):
            if key not in known:
                started = time.perf_counter()
                likeliest, losses = self._run(self.technique.view(self.model, plan))
                agreed = (likeliest == self._likeliest).float().mean(1).numpy()
                seconds = time.perf_counter() - started
                known[key] = agreed, math.exp(float(losses.mean())), seconds
        return [
            self._evaluation(candidate, plan, *known[key], sharing=keys.count(key))
            for candidate, plan, key in zip(candidates, plans, keys, strict=True)
        ]

    def _evaluation(
        self,
        candidate: Candidate,
        plan: Plan,
        outcomes: NDArray[np.float32],
        perplexity: float,
        seconds: float,
        *,
        sharing: int,
    ) -> Evaluation:
        quality = np.asarray(outcomes, dtype=np.float64)
        extra = [name for name in ("weight_bytes",) if name not in self.costs]
        return Evaluation(
            candidate,
            objectives={
                SCORE: float(quality.mean()),
                **{name: self._cost(name, plan) for name in self.costs},
            },
            cost=self.price(candidate),
            executed=1.0 / sharing,
            seconds=seconds / sharing,
            standard_errors={
                SCORE: float(quality.std(ddof=1) / np.sqrt(len(quality))),
                **dict.fromkeys(self.costs, 0.0),
            },
            metrics={
                "accuracy": float(outcomes.mean()),
                "perplexity": perplexity,
                **self.technique.metrics(plan),
                **{name: self._cost(name, plan) for name in extra},
            },
            outcomes=outcomes,
            detail={"bits": dict(plan.weight_bits)},
        )

    def measure(self, candidates: Sequence[Candidate]) -> Measurement | None:
        """Latency again, measured, where it is an objective."""
        if "latency_ms" not in self.costs or not candidates:
            return None
        return self.timer.measure([self.plan(c).weight_bits for c in candidates])

    def notes(self) -> list[str]:
        """The origin of predicted latencies, where latency is an objective."""
        return [self.timer.note()] if "latency_ms" in self.costs else []

    @cached_property
    def _heldout(self) -> TextQuantisation | None:
        if self._heldout_windows is None:
            return None
        return TextQuantisation(
            self.model, self._heldout_windows, self.technique, objectives=(SCORE, *self.costs),
            batch=self._batch, model_name=self.model_name,
            timer=self.timer if "latency_ms" in self.costs else None,
        )  # fmt: skip

    @property
    def heldout(self) -> TextQuantisation | None:
        """The same problem on the held-out windows."""
        return self._heldout

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and a digest of the tokens."""
        return {
            "problem": self.name,
            "model": self.model_name,
            "family": self.model.config.model_type,
            "layers": self.technique.quantiser.parts.layers,
            "techniques": {self.technique.name: self.technique.describe()},
            "objectives": [SCORE, *self.costs],
            "samples": len(self.windows),
            "window": self.windows.shape[1],
            "text_sha256": hashlib.sha256(self.windows.numpy().tobytes()).hexdigest(),
            "dense_perplexity": self.dense_perplexity,
            "dense_weight_bytes": self._cost("weight_bytes", self.technique.dense(Plan())),
        }


def load_text(
    model: str,
    task: str | None,
    technique: WeightBits,
    *,
    search_size: int,
    heldout_size: int,
    objectives: str | Sequence[str] | None = None,
    **loading: Any,
) -> TextQuantisation:
    """The problem on windows of the text file `task`; raises `InvalidValueError` without one."""
    if task is None or not task.endswith(TEXT_SUFFIXES):
        raise InvalidValueError(
            f"model {model!r} is a language model: give --task a text file "
            f"({' or '.join(TEXT_SUFFIXES)}), got {task!r}"
        )
    causal, tokenizer = load_causal(model, **loading)
    windows = read_windows(Path(task), tokenizer)
    search, heldout = split_windows(windows, search_size, heldout_size)
    return TextQuantisation(
        causal, search, technique, objectives=objectives, heldout_windows=heldout, model_name=model
    )


def read_windows(file: Path, tokenizer: Any, *, window: int = WINDOW) -> Tensor:
    """A text file as windows of tokens, int64 [samples, window]; an incomplete one is dropped.

    Raises `BrokenFileError` for a file that cannot be read, `InvalidValueError` for a short one.
    """
    text = read_text(file, "text", None)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    count = len(ids) // window
    if count < 16:
        raise InvalidValueError(
            f"{file} has {len(ids)} tokens; at least {16 * window} are needed, 8 samples of "
            f"{window} tokens per split"
        )
    return torch.tensor(ids[: count * window]).view(count, window)


def split_windows(windows: Tensor, search: int, heldout: int) -> tuple[Tensor, Tensor | None]:
    """Search and held-out windows: at most so many of the first and of the second half.

    Halves, so that no held-out window continues one that was searched on, but at one place.
    """
    half = len(windows) // 2
    return windows[:half][:search], windows[half:][:heldout] if heldout else None


def load_causal(
    model: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, from a directory or the hub; safetensors only.

    Raises `BrokenFileError` where nothing loadable is found.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    source, local = find_checkpoint(model)
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        with without_loading_bar():
            loaded = AutoModelForCausalLM.from_pretrained(
                source, dtype=DTYPES[dtype], use_safetensors=True,
                attn_implementation=None if attn == "auto" else attn, **options,
            )  # fmt: skip
        return loaded.to(torch.device(device)).eval(), AutoTokenizer.from_pretrained(
            source, **options
        )
    except FOREIGN as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(f"cannot load model {model!r}: {reason}") from error


def takes_pictures(model: str, trust_remote_code: bool = False) -> bool:
    """Whether a model takes pictures: transformers knows it for image-text-to-text.

    Raises `BrokenFileError` where there is no configuration to look at.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    source, local = find_checkpoint(model)
    try:
        config = AutoConfig.from_pretrained(
            source, local_files_only=local, trust_remote_code=trust_remote_code
        )
    except FOREIGN as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(f"cannot load model {model!r}: {reason}") from error
    auto = getattr(config, "auto_map", None) or {}
    known: Sequence[type] = tuple(AutoModelForImageTextToText._model_mapping)
    return "AutoModelForImageTextToText" in auto or type(config) in known
