"""Pruned models: views of a user's model that drop visual tokens in `forward` and `generate`.

    view = paretoprune.pruned(model, schedule, pruner="fastv")
    view.generate(**inputs)

The view runs the family's own code around its decoder: merging pictures, counting positions, the
output head, beam search. Only the decoder's loop over its layers is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from paretoprune.adapters.base import Adapter, last_token
from paretoprune.adapters.cache_argument import CACHE, NEW
from paretoprune.adapters.extras import Extras
from paretoprune.adapters.views import Recorder, become, view_of
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.policies.base import Policy
from paretoprune.policies.static import Static
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.cache import PrunedCache
from paretoprune.pruning.decide import check_layers, decide
from paretoprune.pruning.decoder import Executed, dropper, remembered
from paretoprune.pruning.tokens import Tokens
from paretoprune.schedules import KeepSchedule, keep_counts

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass
class Pruning:
    """What a view's decoder needs to know; `executed` counts the FLOPs of ranking and deciding.

    `decided` float64 [B, layers] are the keep ratios of the last call that showed pictures.
    `visual` bool [B, T], `prompt_end` int64 [B] and `inputs`, the arguments of `forward`, belong to
    the call that is running. `extras` answers what the pruner needs of the vision tower.
    """

    adapter: Adapter
    pruner: Pruner
    policy: Policy
    recorder: Recorder
    extras: Extras
    visual: Tensor | None = None
    prompt_end: Tensor | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    executed: Executed = field(default_factory=Executed)
    decided: NDArray[np.float64] | None = None


def prune(
    model: Model, adapter: type[Adapter], schedule: KeepSchedule | Policy, pruner: Pruner
) -> Model:
    """A view of `model` that keeps visual tokens by `schedule` or a policy, ranked by `pruner`.

    The view has a module tree of its own and shares all tensors; `model` is not changed and may be
    used beside it. The view's `forward` takes one more argument, `prompt_end` int64 [B], for inputs
    that go on behind the prompt. Raises `InvalidValueError` where schedule and model do not fit.
    """
    view = view_of(model)
    inside = adapter(view, None, None)
    layers = inside.spec.layers
    policy = Static(schedule) if isinstance(schedule, KeepSchedule) else schedule
    if isinstance(policy, Static):
        if policy.layers != layers:
            raise InvalidValueError(
                f"the schedule has {policy.layers} layers, {type(model).__name__} has {layers}"
            )
        pruner.check(np.asarray(policy.schedule.ratios))
    check_layers(policy, layers)
    decoder = inside.decoder
    extras = Extras(inside, pruner.needs)
    extras.listen()
    pruning = Pruning(inside, pruner, policy, Recorder(decoder, decoder), extras)
    become(decoder, _forward, "Pruned")
    decoder.pruning = pruning
    view.pruning = pruning

    def look(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        _look_at(pruning, args, kwargs)
        return args, kwargs

    view.register_forward_pre_hook(look, with_kwargs=True)
    return view


def _look_at(pruning: Pruning, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note which of the tokens that `forward` is called with are visual."""
    ids = kwargs.get("input_ids", args[0] if args else None)
    pruning.prompt_end = kwargs.pop("prompt_end", None)
    if ids is None:
        raise UnsupportedError(
            "a pruned model needs input_ids to tell visual tokens from text; inputs_embeds alone "
            "do not say"
        )
    # an image token that was generated is text: only a call that brings pictures has visual ones
    pictures = any(
        value is not None and (name.startswith("pixel_values") or name == "mm_encoder_outputs")
        and not (isinstance(value, dict) and not value)
        for name, value in kwargs.items()
    )  # fmt: skip
    pruning.visual = pruning.adapter.visual_mask(ids) if pictures else None
    pruning.inputs = kwargs if pictures else {}


def _forward(
    self: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    past_key_values: Any = None,
    inputs_embeds: Tensor | None = None,
    use_cache: bool | None = None,
    **kwargs: Any,
) -> BaseModelOutputWithPast:
    """The pruned decoder's forward pass over T new tokens behind those in the cache.

    Hidden states of tokens that did not reach the last layer are 0 in the output.
    """
    pruning: Pruning = self.pruning
    adapter = pruning.adapter
    given = input_ids if inputs_embeds is None else inputs_embeds
    if given is None:
        raise ValueError("give input_ids or inputs_embeds")
    if attention_mask is not None and (
        not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2
    ):
        raise UnsupportedError("a pruned model takes attention masks of shape [batch, tokens] only")
    given_cache = kwargs.pop(NEW, None) if past_key_values is None else past_key_values
    keep_cache = self.config.use_cache if use_cache is None else use_cache
    cache = PrunedCache.of(given_cache, adapter.spec.layers)
    seen = cache.get_seq_length()
    adapter.require_window(
        given.new_ones(len(given), seen + given.shape[1], dtype=torch.bool)
        if attention_mask is None
        else attention_mask.bool()
    )
    entry = pruning.recorder.entry(
        input_ids=input_ids, inputs_embeds=inputs_embeds, attention_mask=attention_mask,
        position_ids=position_ids, use_cache=False, **{CACHE: cache}, **kwargs,
    )  # fmt: skip
    batch, length = entry.hidden.shape[:2]
    if attention_mask is None:
        valid = torch.ones(batch, length, dtype=torch.bool, device=entry.hidden.device)
    else:
        valid = attention_mask[:, -length:].bool()
    visual = pruning.visual
    if visual is None or visual.shape != valid.shape:
        visual = torch.zeros_like(valid)
    places = torch.arange(seen, seen + length, device=valid.device)
    tokens = Tokens(
        hidden=entry.hidden,
        rotary=entry.rotary,
        origin=places.expand(batch, -1).contiguous(),
        visual=visual & valid,
        valid=None,
        query=last_token(valid, pruning.prompt_end),
        sample=torch.arange(batch, device=valid.device),
        extras=pruning.extras.read(pruning.inputs, visual) if pruning.inputs else {},
    )
    pruning.inputs = {}
    if not bool(valid.all()):
        tokens = tokens.keep(valid)
    tokens = _run(pruning, tokens, cache)
    cache.advance(length)
    hidden = adapter.decoder.norm(tokens.hidden)
    width = hidden.shape[-1]
    index = (tokens.origin - seen).clamp(max=length)  # padding of shorter rows goes past the end
    whole = hidden.new_zeros(batch, length + 1, width)
    whole = whole.scatter(1, index[..., None].expand(-1, -1, width), hidden)[:, :length]
    return BaseModelOutputWithPast(
        last_hidden_state=whole, **{CACHE: cache if keep_cache else None}
    )


def _run(pruning: Pruning, tokens: Tokens, cache: PrunedCache) -> Tokens:
    """All layers, dropping before each what the policy says, against the cached keys."""
    adapter, policy = pruning.adapter, pruning.policy
    present = tokens.visual.sum(1).cpu().numpy()
    anything = bool(present.any())
    if anything:
        tokens = remembered(adapter, pruning.pruner, tokens, pruning.executed)
    for layer in range(adapter.spec.layers):
        if anything and layer == policy.layer:
            pruning.decided = _decided(pruning, tokens)
            counts = keep_counts(pruning.decided, present)
        if anything and layer >= policy.layer:
            drop = dropper(adapter, pruning.pruner, pruning.executed, tokens, layer)
            tokens = drop(counts[layer], None)
        tokens = tokens.run(adapter, layer, cache=cache)
    return tokens


def _decided(pruning: Pruning, tokens: Tokens) -> NDArray[np.float64]:
    """Keep ratios of each sample, float64 [B, layers]."""
    policy, adapter = pruning.policy, pruning.adapter
    context = tokens.context(adapter, policy.layer)
    if isinstance(policy, Static):
        return policy.schedules(context)  # as given: `prune` has checked that the pruner can follow
    visual = tokens.visual.sum(1).cpu().numpy()
    lengths = tokens.validity.sum(1).cpu().numpy()
    asked = context.text[1].sum(1).cpu().numpy()
    pruning.executed.flops += float(policy.flops(adapter.spec, lengths, visual, asked).sum())
    return decide(policy, context, pruning.pruner)
