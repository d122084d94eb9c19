"""Pruned models: views of a user's model that drop visual tokens in `forward` and `generate`.

    view = paretoprune.pruned(model, schedule, pruner="fastv")
    view.generate(**inputs)

The view runs the family's own code around its decoder: merging pictures, counting positions, the
output head, beam search. Only the decoder's loop over its layers is ours.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.extras import EncoderRun, Extras
from paretoprune.adapters.model_access import CACHE, NEW, OLD, last_token
from paretoprune.adapters.prompts import visual_mask
from paretoprune.adapters.refusals import require_window
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.adapters.views import Recorder, Scope, become, extend, view_of
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.cache import PrunedCache
from paretoprune.pruning.decide import check_layers, decide
from paretoprune.pruning.decoder import Executed, dropper, with_saved
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.static import Static
from paretoprune.pruning.tokens import Tokens
from paretoprune.schedules import KeepSchedule, keep_counts

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class Call:
    """The call of a view's `forward` that is running, on T new tokens of B sequences.

    `inputs` are its arguments by name and `visual` bool [B, T] its visual tokens, both empty where
    it shows no pictures; `run` is what its vision encoder does. Visual tokens are ranked by the
    token `prompt_end` int64 [B], or else by the last of the first `prompt_length` tokens. `rows`
    sequences in a row belong to one sample.
    """

    inputs: Mapping[str, Any]
    visual: Tensor | None
    prompt_end: Tensor | None
    prompt_length: int | None
    rows: int
    run: EncoderRun = field(default_factory=EncoderRun)

    def query(self, valid: Tensor) -> Tensor:
        """Index of the token that ranks, int64 [B], among tokens that are `valid` bool [B, T]."""
        return last_token(valid[:, : self.prompt_length], self.prompt_end)


@dataclass
class Pruning:
    """Settings of a view's decoder; `executed` counts the FLOPs of ranking and deciding.

    `decided` float64 [B, layers] are the keep ratios of the last call that showed pictures, None if
    it failed. `calls` has the call that is running, and `prompts` the tokens int64 [B, T] that
    `generate` was given while it runs. `extras` computes the pruner's needs in the vision encoder.
    With `per_picture` every picture keeps a token where the ratio is above 0.
    """

    adapter: Adapter
    pruner: Pruner
    policy: Policy
    recorder: Recorder
    extras: Extras
    per_picture: bool = False
    calls: Scope[Call] = field(default_factory=Scope)
    prompts: Scope[Tensor] = field(default_factory=Scope)
    executed: Executed = field(default_factory=Executed)
    decided: NDArray[np.float64] | None = None


def prune(
    model: Model,
    adapter: type[Adapter],
    schedule: KeepSchedule | Policy,
    pruner: Pruner,
    *,
    per_picture: bool = False,
) -> Model:
    """A view of `model` that keeps visual tokens by `schedule` or a policy, ranked by `pruner`.

    With `per_picture` every picture of a prompt keeps a token where a ratio is above 0. The view
    has a module tree of its own and shares all tensors; `model` is not changed and stays usable.
    The view's `forward` takes one more argument, `prompt_end` int64 [B], for inputs that go on
    behind the prompt. Raises `InvalidValueError` where schedule and model do not fit.
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
    pruning = Pruning(inside, pruner, policy, Recorder(decoder, decoder), extras, per_picture)
    become(decoder, _forward, "Pruned")
    base = view.base_model
    for module in {id(m): m for m in (decoder, base, view)}.values():
        module.pruning = pruning
    extend(view, {"forward": _calling(type(view))}, "")
    if view.can_generate():
        extend(view, {"generate": _generating(type(view))}, "")
    if base is not view:  # hidden states are asked of it
        extend(base, {"forward": _calling(type(base))}, "")
    return view


def _calling(kind: Any) -> Callable[..., Any]:
    """`forward` of a model class, whose decoder knows the call while it runs, and no longer."""
    method = kind.forward
    signature = inspect.signature(method)
    further = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]

    @functools.wraps(method)  # transformers looks at its parameters
    def forward(self: Any, *args: Any, prompt_end: Tensor | None = None, **kwargs: Any) -> Any:
        pruning: Pruning = self.pruning
        if pruning.calls.now is not None:  # the base model, called by the whole one
            return method(self, *args, **kwargs)
        arguments = dict(signature.bind(self, *args, **kwargs).arguments)
        for name in further:
            arguments |= arguments.pop(name, {})
        call = _call(pruning, arguments, prompt_end)
        if call.visual is not None:
            pruning.decided = None
        with (
            pruning.calls.holding(call),
            pruning.extras.runs.holding(call.run),
            _going_on(self, arguments),
        ):
            return method(self, *args, **kwargs)

    return forward


def _call(pruning: Pruning, arguments: Mapping[str, Any], prompt_end: Tensor | None) -> Call:
    """A call from its arguments by name; says where it cannot be followed."""
    ids = arguments.get("input_ids")
    if ids is None:
        raise UnsupportedError(
            "a pruned model needs input_ids to distinguish visual tokens from text"
        )
    # an image token that was generated is text: only a call that brings pictures has visual ones
    pictures = any(
        value is not None and (name.startswith("pixel_values") or name == "mm_encoder_outputs")
        and not (isinstance(value, dict) and not value)
        for name, value in arguments.items()
    )  # fmt: skip
    if not pictures:
        return Call({}, None, prompt_end, None, 1)
    visual = visual_mask(pruning.adapter, ids)
    prompt = pruning.prompts.now
    length, rows = (None, 1) if prompt is None else _prompt_of(prompt, ids, arguments)
    if length is not None and bool(visual[:, length:].any()):
        token = int(ids[:, length:][visual[:, length:]][0])
        raise UnsupportedError(
            f"token {token}, which stands for pictures, came behind the prompt, where no picture "
            f"is: give suppress_tokens=[{token}], or generate with a cache and without an assistant"
        )
    return Call(arguments, visual, prompt_end, length, rows)


def _prompt_of(prompt: Tensor, ids: Tensor, arguments: Mapping[str, Any]) -> tuple[int | None, int]:
    """Length of the prompt in the tokens `ids` [B, T] of a call within `generate`, and its rows.

    Rows are those of each sequence of the prompt, for beams. Without a cache every step runs prompt
    and answer, and with an assistant the first one does. None where the call has another prompt.
    """
    prompt = prompt.to(ids.device)
    rows = max(1, len(ids) // len(prompt))
    cache = _cache_of(arguments)
    seen = 0 if cache is None else int(cache.get_seq_length())
    for start in (0, seen):  # a conversation goes on with the new tokens, or with all of them
        new = prompt[:, start:].repeat_interleave(rows, 0)
        length = new.shape[1]
        if length and torch.equal(ids[:, :length], new):
            return length, rows
    return None, 1


def _cache_of(arguments: Mapping[str, Any]) -> Any:
    """The cache among arguments by name, by the name that this transformers gives it."""
    return arguments.get(OLD) if arguments.get(NEW) is None else arguments.get(NEW)


def _going_on(view: Any, arguments: Mapping[str, Any]) -> AbstractContextManager[None]:
    """A call goes on with the conversation whose cache is among its arguments.

    With its own positions, whatever came between, and it is as it was if the call fails.
    """
    cache = _cache_of(arguments)
    if not isinstance(cache, PrunedCache):
        return nullcontext()
    if cache.rope_deltas is not None:
        view.base_model.rope_deltas = cache.rope_deltas
    return cache.unless_completed()


def _generating(kind: Any) -> Callable[..., Any]:
    """`generate` of a model class, during which every call knows where the prompt ends."""
    method = kind.generate

    @functools.wraps(method)
    def generate(
        self: Any, inputs: Any = None, generation_config: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        pruning: Pruning = self.pruning
        settings = generation_config or self.generation_config
        chunk = kwargs.get("prefill_chunk_size", getattr(settings, "prefill_chunk_size", None))
        if chunk is not None:
            raise UnsupportedError(
                f"prefill_chunk_size={chunk} would rank visual tokens before the question is read; "
                "leave it unset for a pruned model"
            )
        new = kwargs.get("max_new_tokens", getattr(settings, "max_new_tokens", None))
        valid = kwargs.get("attention_mask")
        if isinstance(new, int) and isinstance(valid, Tensor) and valid.ndim == 2:
            # the last token is not run; refused now, before an answer is thrown away
            require_window(pruning.adapter, valid.bool(), max(0, new - 1))
        prompt = kwargs.get("input_ids", inputs)
        if not isinstance(prompt, Tensor) or prompt.ndim != 2:
            return method(self, inputs, generation_config, *args, **kwargs)
        with pruning.prompts.holding(prompt), _going_on(self, kwargs):
            return method(self, inputs, generation_config, *args, **kwargs)

    return generate


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
    call = pruning.calls.now
    if call is None:
        raise UnsupportedError(
            "the decoder of a pruned model cannot be called by itself, because visual tokens are "
            "distinguished from text by the input_ids; call the model"
        )
    new_inputs = input_ids if inputs_embeds is None else inputs_embeds
    if new_inputs is None:
        raise ValueError("give input_ids or inputs_embeds")
    given_cache = kwargs.pop(NEW, None) if past_key_values is None else past_key_values
    keep_cache = self.config.use_cache if use_cache is None else use_cache
    cache = PrunedCache.of(given_cache, adapter.spec.layers)  # a static one makes masks of its own
    if attention_mask is not None and (
        not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2
    ):
        raise UnsupportedError("a pruned model takes attention masks of shape [batch, tokens] only")
    seen = cache.get_seq_length()
    require_window(
        adapter,
        new_inputs.new_ones(len(new_inputs), seen + new_inputs.shape[1], dtype=torch.bool)
        if attention_mask is None
        else attention_mask.bool(),
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
    visual = torch.zeros_like(valid) if call.visual is None else call.visual
    if visual.shape != valid.shape:
        raise UnsupportedError(
            f"{visual.shape[1]} input_ids became {length} tokens of the decoder, so a pruned model "
            "cannot tell which of them are visual"
        )
    positions = torch.arange(seen, seen + length, device=valid.device)
    number = adapter.pictures(call.inputs, visual)[..., None]
    tokens = Tokens(
        hidden=entry.hidden,
        rotary=entry.rotary,
        origin=positions.expand(batch, -1).contiguous(),
        visual=visual & valid,
        valid=None,
        query=call.query(valid),
        sample=torch.arange(batch, device=valid.device) // call.rows,
        extras={
            PICTURE: number,
            **pruning.extras.read(call.inputs, call.run, visual),
        },
    )
    if not bool(valid.all()):
        tokens = tokens.keep(valid)
    tokens = _run(pruning, tokens, cache)
    cache.advance(length)
    cache.rope_deltas = getattr(adapter.model.base_model, "rope_deltas", None)
    hidden = adapter.decoder.norm(tokens.hidden)
    width = hidden.shape[-1]
    index = (tokens.origin - seen).clamp(max=length)  # padding of shorter rows goes past the end
    whole = hidden.new_zeros(batch, length + 1, width)
    whole = whole.scatter(1, index[..., None].expand(-1, -1, width), hidden)[:, :length]
    return BaseModelOutputWithPast(
        last_hidden_state=whole, **{CACHE: cache if keep_cache else None}
    )


def _run(pruning: Pruning, tokens: Tokens, cache: PrunedCache) -> Tokens:
    """All layers, with the policy's drops before each, against the cached keys."""
    adapter, policy = pruning.adapter, pruning.policy
    present = tokens.visual.sum(1).cpu().numpy()
    anything = bool(present.any())
    if anything:
        tokens = with_saved(adapter, pruning.pruner, tokens, pruning.executed)
    for layer in range(adapter.spec.layers):
        if anything and layer == policy.layer:
            pruning.decided = ratios = _decided(pruning, tokens)
            pictures = tokens.pictures().cpu().numpy() if pruning.per_picture else None
            counts = keep_counts(ratios, present, pictures)
        if anything and layer >= policy.layer:
            drop = dropper(
                adapter, pruning.pruner, pruning.executed, tokens, layer,
                per_picture=pruning.per_picture,
            )  # fmt: skip
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
