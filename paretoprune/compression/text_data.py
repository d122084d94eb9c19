"""A causal language model on plain text: how often it still says what it said before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.compression.quantisation import Data, Judged
from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.files import read_text
from paretoprune.techniques.bits.quantised import Quantiser
from paretoprune.zoo.load import DTYPES, FOREIGN, find_checkpoint, without_loading_bar

WINDOW = 128
"""Tokens of one sample."""


class TextData(Data):
    """Windows of text, int64 [samples, window]; a sample's score is its agreement with dense.

    Agreement is the share of positions where the most likely next token is the dense model's (the
    complement of the flips of Dutta et al., Accuracy is Not All You Need, arXiv 2407.09141). It
    needs no labels; the dense model's is 1, and 0 is the floor. Perplexity travels with it.
    """

    floor = 0.0

    def __init__(
        self,
        model: Any,
        windows: Tensor,
        *,
        heldout_windows: Tensor | None = None,
        batch: int = 8,
        name: str = "model",
        quantiser: Quantiser | None = None,
    ) -> None:
        self.model, self.windows, self.batch, self.name = model, windows, batch, name
        self._heldout = heldout_windows
        self.quantiser = quantiser or Quantiser(model)
        self._said, losses = self._run(model)
        self.dense_outcomes = np.ones(len(windows), dtype=np.float32)
        self.dense_perplexity = math.exp(float(losses.mean()))

    @torch.inference_mode()
    def _run(self, model: Any) -> tuple[Tensor, NDArray[np.float64]]:
        """Most likely next tokens [samples, window - 1], and mean losses in nats [samples]."""
        said, losses = [], []
        for part in self.windows.split(self.batch):
            ids = part.to(model.device)
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            said.append(logits.argmax(-1).cpu())
            loss = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:], reduction="none"
            )
            losses.append(loss.mean(1).double().cpu().numpy())
        return torch.cat(said), np.concatenate(losses)

    def judge(self, bits: Mapping[str, int]) -> Judged:
        """Agreement of the view with these bits with the model as it was loaded."""
        said, losses = self._run(self.quantiser.view(bits))
        agreed = (said == self._said).float().mean(1)
        return Judged(agreed.numpy(), {"perplexity": math.exp(float(losses.mean()))})

    def one_input(self) -> Mapping[str, Any]:
        """The first window."""
        return {"input_ids": self.windows[:1].to(self.model.device)}

    def heldout(self) -> TextData | None:
        """The held-out windows."""
        if self._heldout is None:
            return None
        return TextData(
            self.model, self._heldout, batch=self.batch, name=self.name, quantiser=self.quantiser
        )

    def describe(self) -> dict[str, Any]:
        """Model, samples and a digest of their tokens."""
        digest = hashlib.sha256(self.windows.numpy().tobytes()).hexdigest()
        return {
            "model": self.name,
            "family": self.model.config.model_type,
            "layers": self.quantiser.parts.layers,
            "samples": len(self.windows),
            "window": self.windows.shape[1],
            "text_sha256": digest,
            "dense_perplexity": self.dense_perplexity,
        }


def read_windows(file: Path, tokenizer: Any, *, window: int = WINDOW) -> Tensor:
    """A text file as windows of tokens, int64 [samples, window]; what is left over is dropped.

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


def sees(model: str, trust_remote_code: bool = False) -> bool:
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
