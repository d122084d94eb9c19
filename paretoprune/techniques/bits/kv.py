"""Key/value caches in few bits: keys and values are rounded as they are projected.

One scale and zero point per token and head, asymmetric, keys before the rotary embedding, as in
KVQuant (Hooper et al., arXiv 2401.18079), without its outliers and non-uniform levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError, UnsupportedError

KV_BITS = (2, 4, 8, 16)
"""Bits per key and value; 16 is half precision, not rounded."""
PROJECTIONS = ("k_proj", "v_proj")
SCALE_BYTES = 4
"""Bytes of a scale and a zero point in half precision."""


class RoundedHeads(nn.Module):
    """A projection to keys or values whose output is rounded to `bits` bits per head and token."""

    def __init__(self, layer: nn.Module, bits: int, head_dim: int) -> None:
        super().__init__()
        if bits not in KV_BITS[:-1]:
            raise InvalidValueError(f"keys and values have 2, 4, 8 or 16 bits, got {bits}")
        self.layer, self.bits, self.head_dim = layer, bits, head_dim

    def forward(self, x: Tensor) -> Tensor:
        """Project and round: `[..., in]` to `[..., kv_heads * head_dim]`."""
        projected: Tensor = self.layer(x)
        heads = projected.unflatten(-1, (-1, self.head_dim))
        codes, scale, zero = coded(heads, self.bits)
        return decoded(codes, scale, zero, projected.dtype).flatten(-2)


def coded(heads: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes uint8 of the shape of `heads` [..., head_dim], scales and zeros float16 [..., 1]."""
    low, high = heads.float().aminmax(dim=-1, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp(min=2.0**-14).half()
    zero = low.half()
    codes = ((heads.float() - zero.float()) / scale.float()).round().clamp(0, 2**bits - 1)
    return codes.to(torch.uint8), scale, zero


def decoded(codes: Tensor, scale: Tensor, zero: Tensor, dtype: torch.dtype) -> Tensor:
    """The dequantised values, of `dtype`."""
    values: Tensor = codes.float() * scale.float() + zero.float()
    return values.to(dtype)


def packed(codes: Tensor, bits: int) -> Tensor:
    """Codes uint8 [..., head_dim] with 8 / bits of them to a byte, as a cache holds them."""
    count = 8 // bits
    if codes.shape[-1] % count:
        raise UnsupportedError(
            f"heads of {codes.shape[-1]} values cannot be packed {count} to a byte; give keys and "
            "values 8 or 16 bits"
        )
    parts = codes.unflatten(-1, (-1, count))
    shifts = torch.arange(count, device=codes.device, dtype=torch.uint8) * bits
    packed: Tensor = (parts << shifts).sum(-1, dtype=torch.uint8)
    return packed


def token_bytes(spec: DecoderSpec, bits: int) -> float:
    """Bytes that one token takes in one layer's cache: keys and values, scales and zeros."""
    values = 2 * spec.kv_heads * spec.head_dim
    if bits == 16:
        return 2.0 * values
    return values * bits / 8 + SCALE_BYTES * 2 * spec.kv_heads
