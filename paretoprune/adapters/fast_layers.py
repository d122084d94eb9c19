"""Decoder layers of the Llama shape with faster kernels: a view of an adapter, for evaluating.

A population's time goes into its layers, and on a CPU transformers' own spend much of it outside
matrix products, or in products that the BLAS library runs below the processor's speed. The fast way
computes the same from the same weights: it reads them where they are at every call, copies nothing
and keeps nothing, so that it cannot be stale. Names of families play no part. A layer is run fast
if it has exactly the parts of the Llama shape and a small probe gives what the layer itself gives;
any other is called as it is, and so is every layer wherever gradients, training, hooks, another
attention backend, other devices or other dtypes are at work.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.model_access import CACHE, RecordingCache, Rotary
from paretoprune.adapters.views import view_of
from paretoprune.errors import UnsupportedError

LAYER = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj", "act_fn")
TOLERANCE = {torch.float32: 1e-4}
"""Largest difference that a probe may show, in parts of the largest value; other dtypes: never.

In float64 transformers' norms still compute in float32, so that a fused one would differ.
"""
ONEDNN_BATCH = 16
"""Sequences from which PyTorch gives a 1x1 convolution to oneDNN, also on a single thread."""


def with_fast_layers(adapter: Adapter) -> Adapter:
    """The adapter with a `run_layer` that is fast where that changes nothing.

    A view: model and tensors are the adapter's own. An adapter that runs its layers in a way of its
    own is returned as it is.
    """
    kind = type(adapter)
    if kind.run_layer is not Adapter.run_layer or "run_layer" in vars(adapter):
        return adapter
    twin = copy.copy(adapter)
    twin.__class__ = type(f"Fast{kind.__name__}", (kind,), {"run_layer": _run_layer})
    vars(twin)["_fast_layers"] = {}
    return twin


def _run_layer(
    self: Any, index: int, hidden: Tensor, rotary: Rotary, mask: Tensor | None, cache: Any = None
) -> Tensor:
    """`Adapter.run_layer`, fast where it may be."""
    layer = self.decoder.layers[index]
    if hidden.dtype in TOLERANCE and hidden.device.type == "cpu" and not torch.is_grad_enabled():
        layers: dict[nn.Module, FastLayer | None] = self._fast_layers
        fast = layers.get(layer)
        if layer not in layers or (fast is not None and not fast.holds):
            fast = layers[layer] = FastLayer.of(layer)
        if fast is not None and fast.may_run(hidden, rotary):
            return fast(hidden, rotary, mask, cache)
    out: Tensor = Adapter.run_layer(self, index, hidden, rotary, mask, cache)
    return out


class FastLayer:
    """One decoder layer of the Llama shape; reads the layer's own weights at every call."""

    def __init__(self, layer: nn.Module, parts: Mapping[str, Any]) -> None:
        self.layer = layer
        self.parts = parts
        self._proven: dict[torch.dtype, bool] = {}
        modules = dict(layer.named_modules())
        # for `holds`, which checks that every module is still the same
        self._places = [
            (modules[name.rpartition(".")[0]]._modules, name.rpartition(".")[2], module)
            for name, module in modules.items()
            if name
        ]
        self._kinds = [(m, type(m), type(m).forward) for m in modules.values()]
        self._weights = [m for m in modules.values() if m._parameters]

    @classmethod
    def of(cls, layer: nn.Module) -> FastLayer | None:
        """The fast form of a layer, or None if it has other parts than the Llama shape."""
        parts: dict[str, Any] = {}
        for owner, names in ((None, LAYER), ("self_attn", ATTENTION), ("mlp", MLP)):
            module: Any = layer if owner is None else parts[owner]
            if any(
                p is not None for p in (*module._parameters.values(), *module._buffers.values())
            ):
                return None
            children = {k: m for k, m in module._modules.items() if m is not None}
            if not set(names) <= set(children):
                return None
            others = [m for k, m in children.items() if k not in names]
            if any(next(m.parameters(), None) is not None for m in others):
                return None
            parts |= {name: children[name] for name in names}
        linears = [parts[n] for n in (*ATTENTION, *MLP) if n != "act_fn"]
        norms = [parts["input_layernorm"], parts["post_attention_layernorm"]]
        attention = parts["self_attn"]
        if (
            all(type(m) is nn.Linear for m in linears)
            and all(set(m._parameters) == {"weight"} and _epsilon(m) is not None for m in norms)
            and isinstance(getattr(attention, "head_dim", None), int)
            and isinstance(getattr(attention, "scaling", None), float)
            and hasattr(attention, "layer_idx")
        ):
            return cls(layer, parts)
        return None

    @property
    def holds(self) -> bool:
        """Whether the layer still has the modules that were found."""
        return all(place.get(name) is module for place, name, module in self._places)

    def may_run(self, hidden: Tensor, rotary: Rotary) -> bool:
        """Whether this call, `hidden` [B, T, hidden], may be fast: nothing else is at work."""
        attention = self.parts["self_attn"]
        if getattr(attention.config, "_attn_implementation", None) != "sdpa":
            return False
        if rotary[0].shape[-1] != attention.head_dim or torch.is_autocast_enabled("cpu"):
            return False
        for module, kind, forward in self._kinds:
            if module.training or module._forward_hooks or module._forward_pre_hooks:
                return False
            if type(module) is not kind or kind.forward is not forward:
                return False
            if "forward" in module.__dict__:
                return False
        for module in self._weights:
            for value in module._parameters.values():
                if value is not None and (
                    type(value) is not nn.Parameter
                    or value.dtype != hidden.dtype
                    or value.device != hidden.device
                ):
                    return False
        if hidden.dtype not in self._proven:
            self._proven[hidden.dtype] = _equal(self.layer, hidden.dtype)
        return self._proven[hidden.dtype]

    def __call__(
        self, hidden: Tensor, rotary: Rotary, mask: Tensor | None, cache: Any = None
    ) -> Tensor:
        """The layer's output, [B, T, hidden] to [B, T, hidden]; `cache` as in `run_layer`."""
        part = self.parts
        attention = part["self_attn"]
        batch, length, _ = hidden.shape
        heads = (batch, length, -1, attention.head_dim)
        x = _normed(hidden, part["input_layernorm"])
        cos, sin = rotary
        half = attention.head_dim // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)[:, :, None]
        query, key = (
            _rotated(_linear(x, part[name]).view(heads), cos[:, :, None], signed).transpose(1, 2)
            for name in ("q_proj", "k_proj")
        )
        value = _linear(x, part["v_proj"]).view(heads).transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, attention.layer_idx)
        seen = functional.scaled_dot_product_attention(
            query, key, value,
            attn_mask=mask,
            is_causal=mask is None and length > 1,
            scale=attention.scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        seen = seen.transpose(1, 2).reshape(batch, length, -1)
        between = _linear(seen, part["o_proj"]).add_(hidden)
        x = _normed(between, part["post_attention_layernorm"])
        gated = part["act_fn"](_linear(x, part["gate_proj"])) * _linear(x, part["up_proj"])
        return _linear(gated, part["down_proj"]).add_(between)


def _normed(x: Tensor, norm: Any) -> Tensor:
    """Root mean square normalisation (arXiv 1910.07467) of [B, T, c]."""
    return functional.rms_norm(x, x.shape[-1:], norm.weight, _epsilon(norm))


def _epsilon(norm: Any) -> float | None:
    epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return epsilon if isinstance(epsilon, float) else None


def _rotated(x: Tensor, cos: Tensor, signed: Tensor) -> Tensor:
    """Rotary embedding of [B, T, heads, d] by cosines and signed sines [B, T, 1, d]."""
    half = x.shape[-1] // 2
    return (x * cos).addcmul_(torch.cat((x[..., half:], x[..., :half]), -1), signed)


def _linear(x: Tensor, module: nn.Linear) -> Tensor:
    """A linear layer on contiguous [B, T, c].

    As a 1x1 convolution where oneDNN takes that: its kernels use AVX-512 on every processor that
    has it, while MKL, behind `torch.nn.functional.linear`, does so on some vendors' only.
    """
    if (
        x.dtype != torch.float32
        or len(x) < ONEDNN_BATCH
        or not torch.backends.mkldnn.is_available()
    ):
        return functional.linear(x, module.weight, module.bias)
    pixels = x[:, :, None].permute(0, 3, 1, 2)  # [B, c, T, 1], channels last
    out = functional.conv2d(pixels, module.weight[:, :, None, None], module.bias)
    return out.permute(0, 2, 3, 1)[:, :, 0]


@torch.no_grad()
def _equal(layer: nn.Module, dtype: torch.dtype) -> bool:
    """Whether fast and own way agree, on a view with random norms and biases and random input.

    Norms and biases are replaced because untrained ones, 1 and 0, would hide how they enter.
    """
    try:
        twin = view_of(layer)
    except UnsupportedError:
        return False
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    for module in twin.modules():
        for name, value in module._parameters.items():
            if value is not None and value.dim() == 1:
                module._parameters[name] = nn.Parameter(noise(*value.shape), requires_grad=False)
    small = FastLayer.of(twin)
    if small is None:
        return False
    batch, length = ONEDNN_BATCH, 6
    hidden = noise(batch, length, small.parts["q_proj"].in_features)
    table = (batch, length, small.parts["self_attn"].head_dim)
    rotary = noise(*table), noise(*table)
    seen = torch.ones(length, length, dtype=torch.bool).tril().repeat(batch, 1, 1, 1)
    seen[0, :, :, -2:] = False  # padding
    for mask in (None, seen):
        own, fast = RecordingCache(), RecordingCache()
        try:
            expected = twin(hidden, attention_mask=mask, position_embeddings=rotary, **{CACHE: own})
            expected = expected[0] if isinstance(expected, tuple) else expected
            output = small(hidden, rotary, mask, fast)
            pairs = [(expected, output), (own.keys, fast.keys), (own.values, fast.values)]
        except Exception:  # not to be called like this: then it is not the shape that it seems
            return False
        for own_value, fast_value in pairs:
            if own_value is None or fast_value is None:
                return False
            allowed = TOLERANCE[dtype] * max(1.0, float(own_value.abs().max()))
            if (
                own_value.shape != fast_value.shape
                or not float((own_value - fast_value).abs().max()) <= allowed
            ):
                return False
    return True
