"""Extras: prefills that carry a pruner's needs besides hidden states; nothing else is computed.

    prefill = prefill_for(adapter, inputs, needs=pruner.needs)

`class_attention` [B, T, 1] and `vision_keys` [B, T, d] come with the need `vision_encoder`, `grid`
[B, T, 3] (picture, row, column) with the need `grid`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.adapters.views import Scope, extend, view_of
from paretoprune.adapters.vision_encoder import class_attention
from paretoprune.errors import UnsupportedError

FEATURES = ("get_image_features", "get_video_features")
"""Methods of transformers' models that run the vision encoder, in `forward` or `generate`."""
RUN = "paretoprune_run"
"""Attribute of the features that these methods return: the `EncoderRun` that made them."""


@dataclass
class EncoderRun:
    """One run of the vision encoder.

    `inputs` are the tensors that it was given; `asked` [pictures, tokens, 1 + d] each are the
    attention of the class token and the keys, where the pruner needs them.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    asked: list[Tensor] = field(default_factory=list)

    def add(self, other: EncoderRun) -> None:
        """Take up another run, such as that on the videos behind that on the pictures."""
        self.inputs |= other.inputs
        self.asked += other.asked


class Extras:
    """Answers a pruner's needs from one call of a model; `adapter` must sit on a view.

    Nothing is kept between calls: what was noted travels with the features, or belongs to the
    scope `runs` of a call that makes them itself. Raises `UnsupportedError` where the family does
    not have what is needed.
    """

    def __init__(self, adapter: Adapter, needs: frozenset[str]) -> None:
        self.adapter = adapter
        self.wants_grid, self.wants_vision_encoder = "grid" in needs, "vision_encoder" in needs
        self.runs: Scope[EncoderRun] = Scope()
        if self.wants_grid and type(adapter).grid is Adapter.grid:
            adapter.grid({})  # says that this family has none, before anything is run
        if self.wants_vision_encoder:
            layer = adapter.class_token_layer()
            if layer is None:
                raise UnsupportedError(
                    f"the vision encoder of {type(adapter.model).__name__} has no class token (or "
                    f"adapter {adapter.family!r} does not know it), which this pruner ranks by; "
                    "choose another, such as 'fastv'"
                )
            layer.register_forward_pre_hook(self._ask, with_kwargs=True)

    def _ask(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run = self.runs.now
        if run is not None:
            weights, keys = class_attention(layer, args[0] if args else kwargs["hidden_states"])
            run.asked.append(torch.cat([weights[..., None], keys], -1))

    def listen(self) -> None:
        """Let features carry how they were made: `generate` makes them and hands on only them."""
        if not (self.wants_grid or self.wants_vision_encoder):
            return
        base = self.adapter.model.base_model
        kind = type(base)
        base.extras = self
        methods = {name: _noting(getattr(kind, name)) for name in FEATURES if hasattr(kind, name)}
        extend(base, methods, "")

    def read(self, inputs: Mapping[str, Any], run: EncoderRun, visual: Tensor) -> dict[str, Tensor]:
        """Extras [B, T, c] of a call with the arguments `inputs`; `visual` bool [B, T].

        `run` holds what was noted during the call; features that were made before it bring their
        own.
        """
        if not (self.wants_grid or self.wants_vision_encoder) or not bool(visual.any()):
            return {}
        every = EncoderRun({k: v for k, v in inputs.items() if isinstance(v, Tensor)})
        every.add(run)
        features = [x for x in (inputs.get("mm_encoder_outputs") or {}).values() if x is not None]
        made_here = [getattr(x, RUN) for x in features if hasattr(x, RUN)]
        for one in made_here:
            every.add(one)
        pictures = any(name.startswith("pixel_values") for name in every.inputs)
        if (
            not pictures
            or len(made_here) < len(features)
            or (self.wants_vision_encoder and not every.asked)
        ):
            raise UnsupportedError(
                "this pruner looks at how the pictures went through the vision encoder, and "
                "features that were made elsewhere do not say: give the pictures themselves, or "
                "what get_image_features of the pruned model itself returns"
            )
        extras: dict[str, Tensor] = {}
        if self.wants_grid:
            extras["grid"] = placed(self.adapter.grid(every.inputs), visual)
        if self.wants_vision_encoder:
            both = self.adapter.laid_out(torch.cat(every.asked), every.inputs)
            extras["class_attention"] = placed(both[:, :1], visual)
            extras["vision_keys"] = placed(both[:, 1:], visual)
        return extras


def _noting(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that makes features, and puts on them the run that made them."""
    signature = inspect.signature(method)

    @functools.wraps(method)  # transformers looks at its parameters
    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        runs: Scope[EncoderRun] = self.extras.runs
        arguments = signature.bind(self, *args, **kwargs).arguments
        tensors = {k: v for k, v in arguments.items() if isinstance(v, Tensor)}
        call = runs.now
        with runs.holding(EncoderRun(tensors)) as run:
            features = method(self, *args, **kwargs)
        if call is not None:
            call.add(run)
        if isinstance(features, ModelOutput):
            setattr(features, RUN, run)
        return features

    return noting


def lacking(adapter: Adapter, needs: frozenset[str]) -> str | None:
    """Reason a model lacks a pruner's requirement, in one sentence, or None. Runs nothing."""
    twin = copy.copy(adapter)
    try:
        if "vision_encoder" in needs:
            twin.model = view_of(adapter.model)
        Extras(twin, needs)
    except UnsupportedError as error:
        return str(error)
    return None


def placed(values: Tensor, visual: Tensor) -> Tensor:
    """Values of the visual tokens, [N, c], where they stand: [B, T, c], 0 elsewhere.

    Where `generate` has repeated every row, for beams or several answers, so are the values.
    Raises `UnsupportedError` where they are not those of the visual tokens.
    """
    tokens = int(visual.sum())
    times = max(1, tokens // max(1, len(values)))
    if tokens != times * len(values):
        raise UnsupportedError(
            f"the prompts have {tokens} visual tokens, but the vision encoder made {len(values)}: "
            "give features as get_image_features returned them"
        )
    rows = visual[::times]
    empty = values.new_zeros((*rows.shape, values.shape[-1]))
    return empty.masked_scatter(rows[..., None], values).repeat_interleave(times, 0)


def prefill_for(
    adapter: Adapter,
    inputs: Mapping[str, Tensor],
    prompt_end: Tensor | None = None,
    *,
    needs: frozenset[str] = frozenset(),
) -> Prefill:
    """`adapter.prefill`, with extras for a pruner's `needs`; the model itself gets no hook."""
    if not needs & {"vision_encoder", "grid"}:
        return _numbered(adapter, inputs, adapter.prefill(inputs, prompt_end))
    twin = copy.copy(adapter)
    if "vision_encoder" in needs:
        twin.model = view_of(adapter.model)
    extras = Extras(twin, needs)
    with extras.runs.holding(EncoderRun()) as run:
        prefill = twin.prefill(inputs, prompt_end)
    noted = extras.read(inputs, run, prefill.visual)
    prefill = replace(prefill, extras={**prefill.extras, **noted})
    return _numbered(adapter, inputs, prefill)


def _numbered(adapter: Adapter, inputs: Mapping[str, Any], prefill: Prefill) -> Prefill:
    """The prefill with the number of each token's picture, where it does not have it yet."""
    if PICTURE in prefill.extras:
        return prefill
    number = adapter.pictures(inputs, prefill.visual)[..., None]
    return replace(prefill, extras={**prefill.extras, PICTURE: number})
