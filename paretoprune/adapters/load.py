"""Loads a checkpoint directory or hub name into the adapter of its family."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from paretoprune.adapters.base import Adapter
from paretoprune.errors import BrokenFileError, UnknownNameError, UnsupportedError
from paretoprune.registry import adapters
from paretoprune.zoo.catalogue import checkpoint_directory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_adapter(
    model: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "sdpa",
    trust_remote_code: bool = False,
) -> Adapter:
    """Load `model` (an embedded mini-model, a checkpoint directory or a hub name).

    Only safetensors weights are read. A name that is neither embedded nor a directory is looked
    up on the Hugging Face hub, the only case that reaches the network. Raises `BrokenFileError`
    where nothing loadable is found and `UnsupportedError` for a family without an adapter.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    embedded = checkpoint_directory(model)
    source = str(embedded or model)
    local = embedded is not None or Path(source).is_dir()
    looks_like_path = source.startswith((".", "~", os.sep)) or source.count("/") > 1
    if not local and looks_like_path:
        raise BrokenFileError(f"model directory {source} does not exist")
    if not local and "/" not in source:
        from paretoprune.zoo.catalogue import names

        raise UnknownNameError(
            "model (neither a directory nor a hub name owner/model)", model, names()
        )
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        family = _family(config.model_type, model)
        loaded = AutoModelForImageTextToText.from_pretrained(
            source,
            config=config,
            dtype=DTYPES[dtype],
            attn_implementation=attn,
            use_safetensors=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        image_processor = _pil_image_processor(source, options)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BrokenFileError(f"cannot load model {model!r}: {reason}") from error
    adapter: Adapter = family(loaded.to(device), tokenizer, image_processor)
    return adapter


def _family(model_type: str, model: str) -> type[Adapter]:
    known: dict[str, type[Adapter]] = {}
    for entry in adapters:
        found: type[Adapter] = entry.load()
        known |= dict.fromkeys(found.model_types, found)
    if model_type not in known:
        raise UnsupportedError(
            f"model {model!r} is of family {model_type!r}, which no adapter takes; "
            f"known: {', '.join(sorted(known))}"
        )
    return known[model_type]


def _pil_image_processor(source: str, options: dict[str, Any]) -> Any:
    """The family's PIL image processor: no torchvision is needed."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(source, backend="pil", **options)
