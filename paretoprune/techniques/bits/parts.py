"""The quantisable parts of a model: linear layers by their block.

Embeddings and the output head stay as they are, as is usual for weight-only quantisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from paretoprune.core.space import Categorical, SearchSpace, Values
from paretoprune.errors import InvalidValueError, UnsupportedError

ATTENTION, MLP, VISION = "attention", "mlp", "vision"
MAX_BLOCKS = 4
"""Blocks of decoder layers that the default space tells apart."""
SPACES = ("blocks", "layers", "uniform")


@dataclass(frozen=True)
class Parts:
    """Paths of linear layers: per decoder layer of attention and MLP, and of all that sees.

    `attention[i]` and `mlp[i]` belong to decoder layer i; `vision` is the vision encoder with its
    projector, empty in a language model.
    """

    attention: tuple[tuple[str, ...], ...]
    mlp: tuple[tuple[str, ...], ...]
    vision: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        both = (*self.attention, *self.mlp)
        return (*(path for layer in both for path in layer), *self.vision)

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.attention)


def parts_of(model: Any) -> Parts:
    """The quantisable parts of a transformers model.

    Raises `UnsupportedError` for a model without decoder layers, or without linear ones in them.
    """
    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
    if not hasattr(decoder, "layers"):
        decoder = _decoder_inside(model)
    names = {id(module): name for name, module in model.named_modules()}
    inside: list[tuple[list[str], list[str]]] = []
    taken: set[int] = {id(module) for module in (model.get_output_embeddings(),) if module}
    layers: Any = decoder.layers
    for layer in layers:
        attention: list[str] = []
        mlp: list[str] = []
        for path, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                taken.add(id(module))
                (attention if "attn" in path or "attention" in path else mlp).append(
                    f"{names[id(layer)]}.{path}"
                )
        inside.append((attention, mlp))
    if not any(attention or mlp for attention, mlp in inside):
        raise UnsupportedError(
            f"the decoder layers of {type(model).__name__} hold no linear layers to quantise"
        )
    vision = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in taken
    ]
    return Parts(
        tuple(tuple(a) for a, _ in inside), tuple(tuple(m) for _, m in inside), tuple(vision)
    )


def _decoder_inside(model: Any) -> Any:
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("language_model", "text_model", "model", "decoder") and (
            hasattr(module, "layers")
        ):
            return module
    raise UnsupportedError(f"{type(model).__name__} has no decoder with layers to quantise")


def bit_spaces(parts: Parts, bits: Sequence[int]) -> dict[str, SearchSpace]:
    """Search spaces over bits: per block of layers, per layer, one for all.

    `blocks` tells attention and MLP of up to `MAX_BLOCKS` blocks of consecutive layers apart,
    `layers` the layers themselves, both the vision encoder too; `uniform` has one knob.
    """
    choices = tuple(map(str, bits))
    vision = [Categorical(VISION, choices, "bits")] if parts.vision else []
    blocks = [
        Categorical(f"{kind}_{first}-{last}", choices, "bits")
        for first, last in blocks_of(parts.layers)
        for kind in (ATTENTION, MLP)
    ]
    single = [Categorical(f"layer_{i}", choices, "bits") for i in range(parts.layers)]
    return {
        "blocks": SearchSpace((*blocks, *vision)),
        "layers": SearchSpace((*single, *vision)),
        "uniform": SearchSpace((Categorical("all", choices, "bits"),)),
    }


def blocks_of(layers: int) -> list[tuple[int, int]]:
    """First and last layer of each block: equal parts, larger ones first."""
    count = min(MAX_BLOCKS, layers)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + layers // count + (number < layers % count))
    return [(first, after - 1) for first, after in pairwise(ends)]


def bits_by_path(parts: Parts, space: str, values: Values) -> dict[str, int]:
    """Bits of every quantisable linear layer, for a valid point of one of `bit_spaces`."""
    bits: dict[str, int] = {}

    def put(paths: Sequence[str], knob: str) -> None:
        bits.update(dict.fromkeys(paths, int(values[knob])))

    if space == "uniform":
        put(parts.paths, "all")
        return bits
    if space == "layers":
        for i in range(parts.layers):
            put((*parts.attention[i], *parts.mlp[i]), f"layer_{i}")
    else:
        for first, last in blocks_of(parts.layers):
            for kind, paths in ((ATTENTION, parts.attention), (MLP, parts.mlp)):
                for i in range(first, last + 1):
                    put(paths[i], f"{kind}_{first}-{last}")
    if parts.vision:
        put(parts.vision, VISION)
    return bits


def mean_bits(bits: Mapping[str, int], model: nn.Module) -> float:
    """Mean bits per quantisable weight, scales and zero points left out."""
    linear: dict[str, Any] = {path: model.get_submodule(path) for path in bits}
    sizes = {path: layer.in_features * layer.out_features for path, layer in linear.items()}
    return float(sum(bits[path] * size for path, size in sizes.items()) / sum(sizes.values()))


def checked_bits(given: Sequence[int], known: Sequence[int], what: str) -> tuple[int, ...]:
    """The bits in rising order; raises `InvalidValueError` for none, repeats or unknown ones."""
    if not given or len(set(given)) != len(given) or not set(given) <= set(known):
        raise InvalidValueError(
            f"bits of {what} are one or more of {', '.join(map(str, known))}, got "
            f"{', '.join(map(str, given)) or 'none'}"
        )
    return tuple(sorted(given))
