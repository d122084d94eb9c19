"""Views of a model: a module tree of its own that shares every tensor with the original.

A change to a view, such as a layer that records or a decoder that prunes, does not affect the
user's model. No class is patched and no hook is set on the original.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from paretoprune.errors import UnsupportedError

Module = TypeVar("Module", bound=nn.Module)
Value = TypeVar("Value")

EXPECTED = {
    "attention_mask", "position_ids", "position_embeddings", "past_key_values", "past_key_value",
    "cache", "use_cache", "cache_position", "output_attentions", "output_hidden_states",
    "hidden_states", "return_dict",
}  # fmt: skip
"""Arguments of a decoder layer that the pruned decoder knows how to give."""


def view_of(module: Module) -> Module:
    """The same module tree again, sharing parameters and buffers; shared modules stay shared.

    Raises `UnsupportedError` for a module whose `forward` would run the original's tree.
    """
    seen: dict[int, nn.Module] = {}

    def again(original: nn.Module) -> nn.Module:
        if id(original) in seen:
            return seen[id(original)]
        if "forward" in vars(original):
            raise UnsupportedError(
                f"this {type(original).__name__} has a forward of its own instead of its class's, "
                "as accelerate's hooks set it (device_map): a view of it would run the model "
                "itself; load the model without them, on one device"
            )
        twin = copy.copy(original)
        seen[id(original)] = twin
        for name, value in list(vars(twin).items()):
            if isinstance(value, dict):  # parameters, buffers, hooks: containers of their own
                twin.__dict__[name] = copy.copy(value)
        if "generation_config" in vars(twin):  # settings of the view stay in the view
            twin.__dict__["generation_config"] = copy.deepcopy(vars(twin)["generation_config"])
        twin.__dict__["_modules"] = {
            name: None if child is None else again(child)
            for name, child in original._modules.items()
        }
        return twin

    view: Module = again(module)  # type: ignore[assignment]
    return view


def become(module: nn.Module, forward: Callable[..., Any], prefix: str) -> None:
    """Give one module of a view another `forward(self, ...)`, by a subclass of its own class.

    Attributes and `isinstance` stay as they are. Never call it on a module of the original.
    """
    # torch finds `forward` on the class; transformers' decorators sit on the original's only
    extend(module, {"forward": forward}, prefix)


def extend(module: nn.Module, methods: Mapping[str, Callable[..., Any]], prefix: str) -> None:
    """Give one module of a view other methods, by a subclass of its own class."""
    kind = type(module)
    # without a prefix it goes by its own name, which `save_pretrained` writes down
    own = {} if prefix else {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    module.__class__ = type(f"{prefix}{kind.__name__}", (kind,), {**own, **methods})


class Scope(Generic[Value]):
    """State of the call that is running, for the modules of a view; gone however the call ends.

    Each thread has its own, so calls at the same time do not mix.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, Value] = {}

    @property
    def now(self) -> Value | None:
        """The innermost value that this thread holds; None outside of every call."""
        return self._by_thread.get(get_ident())

    @contextmanager
    def holding(self, value: Value) -> Iterator[Value]:
        """Hold `value` within a `with` block, and then the previous value again."""
        before = self.now
        self._by_thread[get_ident()] = value
        try:
            yield value
        finally:
            if before is None:
                del self._by_thread[get_ident()]
            else:
                self._by_thread[get_ident()] = before


@dataclass(frozen=True)
class Entry:
    """Inputs of a decoder's first layer: `hidden` [B, T, hidden] and rotary tables."""

    hidden: Tensor
    rotary: tuple[Tensor, Tensor]


class Recorder:
    """A view of a model whose decoder layers do nothing but record their inputs.

    `root` is the module to call: the whole model, or the decoder alone.
    """

    def __init__(self, root: nn.Module, decoder: nn.Module) -> None:
        twin = view_of(root)
        inner = twin if root is decoder else counterpart(root, twin, decoder)
        self.root = twin
        self.decoder = inner
        self._noted: Scope[list[dict[str, Any]]] = Scope()
        layers: Any = inner.layers
        for layer in layers:
            layer.noted = self._noted  # found by the layer, also in a deep copy
            become(layer, _note, "Noting")

    def entry(self, *args: Any, **kwargs: Any) -> Entry:
        """Call the view and return the inputs of its first layer.

        Raises `UnsupportedError` where layers are given what the pruned decoder cannot follow.
        """
        with self._noted.holding([]) as noted:
            self.root(*args, **kwargs)
            return self._read(noted)

    def _read(self, noted: list[dict[str, Any]]) -> Entry:
        name = type(self.decoder).__name__
        if not noted:
            raise UnsupportedError(f"{name} did not call its layers")
        first = noted[0]
        rotary = first.get("position_embeddings")
        if not (isinstance(rotary, tuple) and len(rotary) == 2):
            raise UnsupportedError(
                f"{name} gives its layers no rotary tables (position_embeddings): positions of "
                "kept tokens could not be preserved"
            )
        for number, arguments in enumerate(noted):
            extra = sorted(
                key
                for key, value in arguments.items()
                if key not in EXPECTED and isinstance(value, (Tensor, list, dict, tuple)) and value
                is not None and not _empty(value)
            )  # fmt: skip
            if extra:
                raise UnsupportedError(
                    f"{name} gives layer {number} {', '.join(extra)}: that is more than hidden "
                    "states, positions and a mask, and the pruned decoder cannot follow it"
                )
            other = arguments.get("position_embeddings")
            if other is not rotary and not _same(other, rotary):
                raise UnsupportedError(
                    f"{name} gives layer {number} other rotary tables than layer 0 (local and "
                    "global attention): the pruned decoder knows one kind"
                )
            if arguments["hidden_states"] is not first["hidden_states"] and not torch.equal(
                arguments["hidden_states"], first["hidden_states"]
            ):
                raise UnsupportedError(
                    f"{name} changes hidden states between layers {number - 1} and {number} (such "
                    "as vision features added at several depths): the pruned decoder cannot "
                    "follow it"
                )
            _require_causal(arguments.get("attention_mask"), name, number)
        hidden: Tensor = first["hidden_states"]
        cos, sin = (x.expand(len(hidden), -1, -1) for x in rotary)
        return Entry(hidden, (cos, sin))


def _note(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Instead of a decoder layer's `forward`: hidden states pass through."""
    hidden = args[0] if args else kwargs["hidden_states"]
    noted: list[dict[str, Any]] | None = layer.noted.now
    if noted is not None:
        noted.append({**kwargs, "hidden_states": hidden})
    return hidden


def _require_causal(mask: Any, name: str, layer: int) -> None:
    """Raise `UnsupportedError` for a mask [B, 1, T, K] that is more than causal with padding."""
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[-1] != mask.shape[-2]:
        return
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    tokens = seen.any(2)[:, 0]  # somebody attends to it: no padding
    causal = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).tril()
    expected = causal & tokens[:, None]
    differs = (seen[:, 0] != expected) & tokens[:, :, None]
    if not differs.any():
        return
    later = bool((differs & ~causal).any())
    raise UnsupportedError(
        f"{name} lets tokens of layer {layer} attend to later ones (bidirectional attention over "
        "the picture or prompt): the pruned decoder is causal"
        if later
        else f"{name} hides earlier tokens from later ones in layer {layer} (a sliding window), "
        "and positions of dropped tokens are not counted here"
    )


def counterpart(root: nn.Module, twin: nn.Module, wanted: nn.Module) -> nn.Module:
    """The module of a view that stands where `wanted` stands in the original."""
    for name, module in root.named_modules(remove_duplicate=False):
        if module is wanted:
            return twin.get_submodule(name)
    raise UnsupportedError(f"{type(wanted).__name__} is no part of {type(root).__name__}")


def _empty(value: Any) -> bool:
    return isinstance(value, (list, dict, tuple)) and not value


def _same(one: Any, other: Any) -> bool:
    return (
        isinstance(one, tuple)
        and len(one) == len(other)
        and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    )
