"""A split's prefills: in memory up to a byte budget, behind it in files that are memory-mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paretoprune.adapters.base import Prefill
from paretoprune.compression.teacher_forcing import AnsweredBatch
from paretoprune.errors import BrokenFileError

DEFAULT_BYTES = 4 << 30
EXTRA = "extra."
"""Before the names of a prefill's extras in a file."""


class PrefillStore(Sequence[AnsweredBatch]):
    """Answered batches in order; those that do not fit `limit` bytes are read from disk when asked.

    The files lie in a temporary folder that goes when the store does. Vision encoder and projector
    run once per sample either way. Raises `BrokenFileError` where the folder cannot be written.
    """

    def __init__(self, batches: Iterable[AnsweredBatch], *, limit: int = DEFAULT_BYTES) -> None:
        self._held: list[AnsweredBatch | Path] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.memory_bytes = 0
        self.disk_bytes = 0
        for batch in batches:
            size = _bytes(batch)
            if self.memory_bytes + size <= limit:
                self._held.append(batch)
                self.memory_bytes += size
            else:
                self._held.append(self._spill(batch, len(self._held)))
                self._device = batch.prefill.hidden.device
                self.disk_bytes += size

    def _spill(self, batch: AnsweredBatch, number: int) -> Path:
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="paretoprune-prefill-")
            file = Path(self._folder.name) / f"{number}.safetensors"
            save_file(_tensors(batch), file)
        except (OSError, SafetensorError) as error:
            raise BrokenFileError(
                f"cannot write prefills to {tempfile.gettempdir()}: {error}; "
                "raise the memory for prefills or set TMPDIR to a folder with room"
            ) from error
        return file

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> AnsweredBatch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AnsweredBatch]: ...
    def __getitem__(self, index: int | slice) -> AnsweredBatch | Sequence[AnsweredBatch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        held = self._held[index]
        if isinstance(held, AnsweredBatch):
            return held
        mapped = load_file(held)  # memory-mapped: pages are read where they are used
        return _batch({name: x.to(self._device) for name, x in mapped.items()})


def _tensors(batch: AnsweredBatch) -> dict[str, Tensor]:
    prefill = batch.prefill
    tensors = {
        "hidden": prefill.hidden, "cos": prefill.rotary[0], "sin": prefill.rotary[1],
        "visual": prefill.visual, "valid": prefill.valid, "prompt_end": prefill.prompt_end,
        "sample": batch.sample, "positions": batch.positions, "labels": batch.labels,
        **{EXTRA + name: extra for name, extra in prefill.extras.items()},
    }  # fmt: skip
    if batch.following is not None:
        tensors["following_cos"], tensors["following_sin"] = batch.following
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _batch(tensors: dict[str, Tensor]) -> AnsweredBatch:
    prefill = Prefill(
        tensors["hidden"], (tensors["cos"], tensors["sin"]), tensors["visual"], tensors["valid"],
        tensors["prompt_end"],
        {name.removeprefix(EXTRA): x for name, x in tensors.items() if name.startswith(EXTRA)},
    )  # fmt: skip
    cos, sin = tensors.get("following_cos"), tensors.get("following_sin")
    following = None if cos is None or sin is None else (cos, sin)
    return AnsweredBatch(
        prefill, tensors["sample"], tensors["positions"], tensors["labels"], following
    )


def _bytes(batch: AnsweredBatch) -> int:
    return sum(x.numel() * x.element_size() for x in _tensors(batch).values())
