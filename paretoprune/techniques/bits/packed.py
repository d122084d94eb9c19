"""Linear layers with packed weights: 3, 4 and 8 bits by HQQ, 16 as half precision.

HQQ (Badri and Shaji 2023, Half-Quadratic Quantization; https://mobiusml.github.io/hqq_blog) fits
zero points of groups of weights without data. It packs three bits ten to an int32, four bits two to
a byte, eight bits one to a byte, and runs in plain PyTorch on any device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paretoprune.errors import InvalidValueError, UnsupportedError, not_installed

BITS = (3, 4, 8, 16)
"""Possible bits of a group of weights; 16 is half precision, not quantised."""
GROUP_SIZES = (64, 32, 16, 8)
"""Weights that share a scale and a zero point: the first of these that divides a row."""
SCALE = torch.float16
"""Scales and zero points are kept, and counted, in this."""


class PackedLinear(nn.Module):
    """A linear layer that holds its weights in `bits` bits and unpacks them when it runs.

    `packed` are the weights, `scale` and `zero` float16 `[groups, 1]` (None with 16 bits); the
    bias is the original's. `weight` unpacks anew each time.
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bits, self.dtype = bits, linear.weight.dtype
        self.bias = linear.bias
        self.packed: Tensor
        self.scale: Tensor | None
        self.zero: Tensor | None
        if bits not in BITS:
            raise InvalidValueError(
                f"weights have {', '.join(map(str, BITS[:-1]))} or {BITS[-1]} bits, got {bits}"
            )
        weight = linear.weight.detach()
        if bits == 16:
            half = weight if weight.dtype.itemsize == 2 else weight.to(SCALE)
            self.register_buffer("packed", half, persistent=False)
            self.scale = self.zero = None
            self.group_size = 0
            return
        self.group_size = group_size_of(linear)
        packed, meta = quantizer().quantize(
            weight, nbits=bits, group_size=self.group_size, axis=1, device=str(weight.device)
        )
        self._meta = {k: meta[k] for k in ("nbits", "group_size", "shape", "axis", "packing")}
        self._meta["view_as_float"] = False
        self.register_buffer("packed", packed.contiguous(), persistent=False)
        self.register_buffer("scale", meta["scale"].to(SCALE), persistent=False)
        self.register_buffer("zero", meta["zero"].to(SCALE), persistent=False)

    @property
    def weight(self) -> Tensor:
        """The weights that the layer computes with, `[out, in]`, unpacked."""
        if self.scale is None or self.zero is None:
            return self.packed.to(self.dtype)
        meta = {
            **self._meta,
            "compute_dtype": self.dtype,
            "scale": self.scale.to(self.dtype),
            "zero": self.zero.to(self.dtype),
        }
        weight: Tensor = quantizer().dequantize(self.packed, meta)
        return weight

    @property
    def weight_bytes(self) -> int:
        """Bytes of the packed weights: values, scales and zero points."""
        held = (self.packed, self.scale, self.zero)
        return sum(x.numel() * x.element_size() for x in held if x is not None)

    def forward(self, x: Tensor) -> Tensor:
        """Unpack and multiply: `[..., in]` to `[..., out]`."""
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As `nn.Linear`, with the bits."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"


def group_size_of(linear: nn.Linear) -> int:
    """Number of weights that share a scale; raises `UnsupportedError` where none fits a row.

    Four bits are packed in pairs of groups, so there is an even number of them.
    """
    for size in GROUP_SIZES:
        groups = linear.in_features // size * linear.out_features
        if linear.in_features % size == 0 and groups % 2 == 0:
            return size
    raise UnsupportedError(
        f"a linear layer of {linear.in_features} inputs and {linear.out_features} outputs has no "
        f"groups of {', '.join(map(str, GROUP_SIZES))} weights to quantise"
    )


def quantizer() -> Any:
    """HQQ's quantizer; raises `MissingDependencyError` where it is not installed."""
    try:
        from hqq.core.quantize import Quantizer
    except ImportError as error:
        raise not_installed("quantisation needs HQQ", "hqq") from error
    return Quantizer
