"""Loads a checkpoint directory or hub name into the adapter of its family."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
)

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.prompts import token_text
from paretoprune.adapters.refusals import refuse_model
from paretoprune.adapters.verify import require, try_decoder
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    UnsupportedError,
    brief,
    plain,
)
from paretoprune.files import require_regular
from paretoprune.registry import adapters
from paretoprune.zoo.catalogue import checkpoint_directory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FOREIGN = (
    OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError,
    AssertionError, ArithmeticError, MemoryError, SafetensorError, StrictDataclassError,
)  # fmt: skip
"""Exceptions of the libraries that read a model's files; no code of Paretoprune runs there."""
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth")
MAX_LAYERS = 1000
GENERIC = "generic"
"""The registered adapter for families without one of their own."""


LOADING = threading.Lock()
"""Held while a bar is held back: transformers has one hook for the whole process."""


@contextmanager
def without_loading_bar() -> Iterator[None]:
    """Show no bar of transformers ("Loading weights") for this thread's loading in this block.

    Other threads keep theirs, a hook that the user has set goes on, and downloads show theirs.
    """
    from transformers.utils import logging as library

    mine = threading.get_ident()
    before: Callable[..., Any] | None = None

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() == mine:
            return library.EmptyTqdm(*args, **kwargs)
        return factory(*args, **kwargs) if before is None else before(factory, args, kwargs)

    with LOADING:
        before = library.set_tqdm_hook(hook)
        try:
            yield
        finally:
            library.set_tqdm_hook(before)


def load_adapter(
    model: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
) -> Adapter:
    """Load `model` (an embedded mini-model, a checkpoint directory or a hub name).

    Only safetensors weights are read, straight into `dtype`. A name that is neither embedded nor a
    directory is looked up on the Hugging Face hub, the only case that reaches the network. A family
    without an adapter of its own gets the generic one, after checking that it gives the model's own
    logits. The decoder of any model that is not embedded is tried on noise, with tokens dropped.
    Raises `BrokenFileError` where nothing loadable is found, `UnsupportedError` for a model that
    cannot be driven, and `UnknownNameError` or `InvalidValueError` for a dtype or device that is
    not there.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    torch_device = find_device(device)
    source, local = find_checkpoint(model)
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        _require_few_layers(PretrainedConfig.get_config_dict(source, **options)[0], model)
        config = AutoConfig.from_pretrained(source, **options)
        family = adapter_class(config.model_type)
        if not _known_to_transformers(config):
            raise UnsupportedError(
                f"model {model!r} is of type {config.model_type!r}, which is no vision-language "
                "model that transformers can load for image-text-to-text"
            )
        _refuse_known(config)
        with without_loading_bar():
            loaded = AutoModelForImageTextToText.from_pretrained(
                source,
                config=config,
                dtype=DTYPES[dtype],
                attn_implementation=None if attn == "auto" else attn,
                use_safetensors=True,
                **options,
            ).to(torch_device)
        if checkpoint_directory(model) is None:
            try_decoder(family, loaded)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        image_processor = _pil_image_processor(source, options)
    except (UnsupportedError, BrokenFileError):
        raise
    except FOREIGN as error:
        raise BrokenFileError(f"cannot load model {model!r}: {_reason(error, local)}") from error
    if family.family != GENERIC:
        if checkpoint_directory(model) is not None:
            return family(loaded, tokenizer, image_processor)
        return _tried(family, loaded, tokenizer, image_processor, model)
    from paretoprune.adapters.generic import GenericAdapter

    processor, note = _processor(source, options, image_processor, tokenizer, config)
    try:
        generic = require(GenericAdapter(loaded, tokenizer, image_processor, processor))
    except UnsupportedError:
        if processor is None:
            raise
        # its processor may be what does not fit: the model itself can say how many tokens it wants
        generic = require(GenericAdapter(loaded, tokenizer, image_processor))
        note = PLAIN_RUNS
    if note is not None:
        generic.note = f"{type(loaded).__name__}: {note}"
        warnings.warn(generic.note, stacklevel=2)
    return generic


def _require_tokens(adapter: Adapter, model: str) -> None:
    """Raise `BrokenFileError` for a tokenizer with too few tokens, or too many for the model."""
    for token_id in adapter.visual_token_ids:
        token = token_text(adapter, token_id)
        if token_id not in adapter.tokenizer(token, add_special_tokens=False)["input_ids"]:
            raise BrokenFileError(
                f"cannot load model {model!r}: its configuration has token {token_id} for "
                f"pictures, which its tokenizer of {len(adapter.tokenizer)} tokens does not know"
            )
    rows = adapter.model.get_input_embeddings().weight.shape[0]
    last = max(adapter.tokenizer.get_vocab().values())
    if last >= rows:
        raise BrokenFileError(
            f"cannot load model {model!r}: its tokenizer has tokens up to number {last}, its "
            f"embedding {rows} rows"
        )


def _require_few_layers(config: Any, model: str) -> None:
    """Raise `BrokenFileError` before a configuration makes lists and modules without an end."""
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            parts += part.values()
            for name in LAYERS:
                value = part.get(name)
                if isinstance(value, int | float) and not value <= MAX_LAYERS:
                    raise BrokenFileError(
                        f"cannot load model {model!r}: its configuration has {name} {value}; "
                        f"allowed: up to {MAX_LAYERS}"
                    )


def _tried(
    family: type[Adapter], loaded: Any, tokenizer: Any, image_processor: Any, model: str
) -> Adapter:
    """The adapter of a stranger's files, which has answered one small question about a picture.

    Raises `BrokenFileError` where it cannot: then the files do not fit together.
    """
    try:
        adapter: Adapter = family(loaded, tokenizer, image_processor)
        _require_tokens(adapter, model)
        picture = np.zeros((32, 32, 3), np.uint8)
        with torch.no_grad():
            adapter.model(**adapter.inputs([picture], ["?"]))
    except ParetopruneError:
        raise
    except Exception as error:  # whatever four libraries raise for files that do not fit together
        raise BrokenFileError(
            f"cannot use model {model!r}: with its files, no question about a picture can be "
            f"answered: {_reason(error, True)}"
        ) from error
    return adapter


def find_checkpoint(model: str) -> tuple[str, bool]:
    """Where a model lies, and whether that is on this machine; raises for names that are neither.

    A name is an embedded mini-model, a directory, or a hub name `owner/model`.
    """
    if not isinstance(model, str | Path) or not str(model).strip():
        raise InvalidValueError(
            f"a model is named: embedded, by its directory, or as owner/model; got {brief(model)}"
        )
    embedded = checkpoint_directory(str(model))
    source = str(embedded or model)
    local = embedded is not None or Path(source).is_dir()
    looks_like_path = source.startswith((".", "~", os.sep)) or source.count("/") > 1
    if local and embedded is None:
        for file in Path(source).glob("*"):
            if file.exists() and not file.is_dir():
                require_regular(file, "file of a model")
    if not local and looks_like_path:
        raise BrokenFileError(f"model directory {source} does not exist")
    if not local and "/" not in source:
        from paretoprune.zoo.catalogue import names

        raise UnknownNameError(
            "model (neither a directory nor a hub name owner/model)", model, names()
        )
    return source, local


def adapter_class(model_type: str) -> type[Adapter]:
    """The adapter that takes a `config.model_type`; the generic one if none names it."""
    generic: type[Adapter] | None = None
    for name in adapters.usable():
        adapter: type[Adapter] = adapters.load(name)
        if model_type in adapter.model_types:
            return adapter
        if name == GENERIC:
            generic = adapter
    if generic is None:
        raise UnsupportedError(f"no adapter takes models of type {model_type!r}")
    return generic


def find_device(name: str) -> torch.device:
    """The device called `name`, such as `cpu` or `cuda:1`, if it is on this machine.

    Raises `InvalidValueError`, which names those that are.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        device = None
    if device is None or device.type == "meta":
        why = " (this torch is built without CUDA)" if torch.version.cuda is None else ""
        raise InvalidValueError(
            f"there is no device {brief(name)} here; there are: {', '.join(_devices())}{why}"
        )
    return device


def _devices() -> list[str]:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    some = ["cuda"] if gpus else []
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *some, *(f"cuda:{i}" for i in range(gpus)), *apple]


def _known_to_transformers(config: Any) -> bool:
    auto = getattr(config, "auto_map", None) or {}
    return "AutoModelForImageTextToText" in auto or type(config) in (
        AutoModelForImageTextToText._model_mapping
    )


def _reason(error: Exception, local: bool) -> str:
    """One line; errors for a hub name without a network are put in plain words."""
    text = str(error).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines()]
    first = plain(" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])
    names = {type(e).__name__ for e in (error, error.__cause__, error.__context__) if e is not None}
    offline = ("couldn't connect", "Connection", "offline", "resolve", "Max retries", "LocalEntry")
    if not local and (any(word in text for word in offline) or "ConnectError" in names):
        return "the Hugging Face hub cannot be reached, and nothing of this name is in the cache"
    return first


def _refuse_known(config: Any) -> None:
    """Raise `UnsupportedError` for a family that is refused anyway, before weights are read."""
    if type(config) in AutoModelForImageTextToText._model_mapping:
        kind = AutoModelForImageTextToText._model_mapping[type(config)]
        refuse_model(kind[0] if isinstance(kind, tuple) else kind, config)


def _pil_image_processor(source: str, options: dict[str, Any]) -> Any:
    """The family's PIL image processor: no torchvision is needed."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(source, backend="pil", **options)


PLAIN_RUNS = (
    "its own processor cannot be used here (often for want of torchvision): a picture is placed as "
    "a plain run of image tokens, without separators that the family may use"
)
STAND_INS = {"smolvlm": "Idefics3Processor"}
"""Processors of one family that write another's prompts, for where its own needs torchvision."""


def _processor(
    source: str, options: dict[str, Any], image_processor: Any, tokenizer: Any, config: Any
) -> tuple[Any, str | None]:
    """The family's own processor, a stand-in, or None; and a remark for the user.

    Processors of different families need different files and raise different exceptions; `verify`
    checks the result.
    """
    import transformers
    from transformers import AutoProcessor, ProcessorMixin

    try:
        processor = AutoProcessor.from_pretrained(source, backend="pil", **options)
        if isinstance(processor, ProcessorMixin):
            return processor, None
    except (OSError, ValueError, ImportError, RuntimeError, TypeError, AttributeError, KeyError):
        pass
    if config.model_type in STAND_INS:
        name = STAND_INS[config.model_type]
        vision = config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        stand_in = getattr(transformers, name)(
            image_processor, tokenizer, image_seq_len=patches // config.scale_factor**2
        )
        return stand_in, f"its own processor cannot be loaded here; {name} writes its prompts"
    return None, PLAIN_RUNS
