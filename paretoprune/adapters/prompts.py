"""Prompts: placeholders of pictures, token ids with their pictures' tensors, padding, answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import BatchFeature

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.tasks.base import Picture, Video, Visual, shown

if TYPE_CHECKING:
    from paretoprune.adapters.base import Adapter

FRAMES = (
    ("image_start_token_id", "image_end_token_id"),
    ("vision_start_token_id", "vision_end_token_id"),
    ("boi_token_index", "eoi_token_index"),
)
"""Names under which configurations keep the tokens around a picture."""


def configured_tokens(model: Any, names: Sequence[str]) -> tuple[int, ...]:
    """The placeholder tokens that a model's configuration has under some of these `names`."""
    tokens = [getattr(model.config, name, None) for name in names]
    ids = tuple(dict.fromkeys(int(token) for token in tokens if token is not None))
    if not ids:
        raise UnsupportedError(
            f"the configuration of {type(model).__name__} names no image token "
            f"({', '.join(names)}), so visual tokens cannot be distinguished from text"
        )
    return ids


def visual_mask(adapter: Adapter, ids: Tensor) -> Tensor:
    """Mask of the visual tokens among token ids int64 [B, T]: bool [B, T]."""
    return torch.isin(ids, ids.new_tensor(adapter.visual_token_ids))


def token_text(adapter: Adapter, token_id: int) -> str:
    """The text of one token."""
    return str(adapter.tokenizer.convert_ids_to_tokens(token_id))


def placeholder(adapter: Adapter, item: Picture | Video) -> str:
    """Placeholder of this picture or video in an unexpanded prompt.

    The word of the family's processor where it is used, else the text of its token.
    """
    word = getattr(adapter.processor, "image_token", None)
    if word:
        return str(getattr(word, "content", word))
    ids = adapter.visual_token_ids
    return token_text(adapter, ids[-1] if isinstance(item, Video) else ids[0])


def opening(adapter: Adapter, items: Sequence[Picture | Video]) -> str:
    """Prefix of a prompt that names no picture and is not in a chat template.

    A placeholder each, between the start and end tokens that the configuration names, if any.
    """
    config = adapter.model.config
    before = after = ""
    for start, end in FRAMES:
        first, last = getattr(config, start, None), getattr(config, end, None)
        if first is not None and last is not None:
            before, after = token_text(adapter, int(first)), token_text(adapter, int(last))
            break
    return "".join(f"{before}{placeholder(adapter, item)}{after}" for item in items)


def token_inputs(adapter: Adapter, tokens: Tensor) -> dict[str, Tensor]:
    """Further arguments of `model.forward` that follow from the token ids int64 [B, T].

    `mm_token_type_ids`, text 0, picture 1, video 2, for families that count positions from them.
    """
    if "mm_token_type_ids" not in adapter.forward_arguments:
        return {}
    kinds = visual_mask(adapter, tokens).long()
    video = getattr(adapter.model.config, "video_token_id", None)
    return {"mm_token_type_ids": torch.where(tokens == video, 2, kinds) if video else kinds}


def encode(
    adapter: Adapter, visuals: Sequence[Visual], prompts: Sequence[str]
) -> tuple[list[list[int]], dict[str, Tensor]]:
    """Token ids of each prompt, placeholders expanded, and the vision encoder's tensors.

    A prompt without placeholders is put into the tokenizer's chat template, if there is one, with
    everything it shows in front; else `opening` goes before it. The family's own processor expands
    placeholders where the adapter has one, else `Adapter.process` says how.
    """
    if len(visuals) != len(prompts):
        raise InvalidValueError(
            f"one picture (or list of pictures) per prompt is needed, got {len(visuals)} and "
            f"{len(prompts)} prompts"
        )
    rows = [shown(v) for v in visuals]
    items = [item for row in rows for item in row]
    if not adapter.takes_videos and any(isinstance(item, Video) for item in items):
        raise UnsupportedError(f"adapter {adapter.family!r} takes pictures, but got a video")
    if adapter.processor is not None:
        texts = [_placed(adapter, row, p)[0] for row, p in zip(rows, prompts, strict=True)]
        ids, tensors = _by_processor(adapter, texts, rows)
    else:
        processed = adapter.process(items, [len(row) for row in rows])
        tensors = processed.tensors
        expanded = iter(processed.texts)
        ids = []
        for row, prompt in zip(rows, prompts, strict=True):
            text, special = _placed(adapter, row, prompt)
            pattern = "|".join(sorted({re.escape(placeholder(adapter, x)) for x in row}))
            text = re.sub(pattern, lambda _: next(expanded), text) if row else text
            ids.append(adapter.tokenizer(text, add_special_tokens=special)["input_ids"])
    dtype = adapter.model.dtype
    return ids, {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}


def _placed(adapter: Adapter, row: Sequence[Picture | Video], prompt: str) -> tuple[str, bool]:
    """The prompt with a placeholder per item, and whether it still needs special tokens."""
    wanted = [placeholder(adapter, item) for item in row]
    if not wanted:
        return prompt, True
    written = re.findall("|".join(re.escape(p) for p in sorted(set(wanted))), prompt)
    if written == wanted:
        return prompt, True
    if written:
        raise InvalidValueError(
            f"the prompt {prompt[:60]!r} has {len(written)} placeholder(s) for "
            f"{len(wanted)} picture(s) or video(s); it needs one each, in order, or none"
        )
    if getattr(adapter.tokenizer, "chat_template", None):
        kinds = ["video" if isinstance(item, Video) else "image" for item in row]
        content = [*({"type": k} for k in kinds), {"type": "text", "text": prompt}]
        text = adapter.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if all(text.count(p) == wanted.count(p) for p in wanted):
            return text, False
    return f"{opening(adapter, row)}\n{prompt}", True


def _by_processor(
    adapter: Adapter, texts: list[str], rows: list[list[Any]]
) -> tuple[list[list[int]], dict[str, Tensor]]:
    """Token ids and tensors by the family's own processor.

    Some take a list of pictures per prompt, some one list of all.
    """
    options = {"text": texts, "return_tensors": "pt", "padding": True}
    flat = [item for row in rows for item in row]
    made: Mapping[str, Any]
    if not flat:
        made = dict(adapter.processor(**options))
    else:
        try:
            made = dict(adapter.processor(images=rows, **options))
        except (ValueError, TypeError):
            made = dict(adapter.processor(images=flat, **options))
    ids, mask = made["input_ids"], made["attention_mask"].bool()
    tensors = {
        k: v
        for k, v in made.items()
        if isinstance(v, Tensor) and k in adapter.forward_arguments and v.shape != ids.shape
    }
    return [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)], tensors


def padded(
    adapter: Adapter, ids: list[list[int]], tensors: Mapping[str, Tensor], side: str
) -> tuple[BatchFeature, Tensor]:
    """A padded batch, on the model's device, and the index of each row's first token, int64 [B]."""
    if side not in ("left", "right"):
        raise InvalidValueError(f"padding side must be 'left' or 'right', got {side!r}")
    longest = max(len(row) for row in ids)
    pad = adapter.tokenizer.pad_token_id
    tokens = torch.full((len(ids), longest), 0 if pad is None else pad)
    mask = torch.zeros_like(tokens)
    start = torch.zeros(len(ids), dtype=torch.long)
    for i, row in enumerate(ids):
        start[i] = longest - len(row) if side == "left" else 0
        place = slice(int(start[i]), int(start[i]) + len(row))
        tokens[i, place] = torch.tensor(row)
        mask[i, place] = 1
    inputs = BatchFeature(
        {
            "input_ids": tokens,
            "attention_mask": mask,
            **token_inputs(adapter, tokens),
            **tensors,
        }
    )
    return inputs.to(adapter.model.device), start.to(adapter.model.device)


def teacher_forced(
    adapter: Adapter,
    visuals: Sequence[Visual],
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    padding_side: str = "right",
    room: int = 0,
) -> tuple[BatchFeature, Tensor, Tensor]:
    """Prompts with their answers appended, for scoring in one forward pass.

    Returns the inputs, `prompt_end` int64 [B] (index of the last prompt token) and `labels` int64
    [B, A]: answer tokens and the end of sequence, -100 behind shorter ones. Label i is predicted at
    token `prompt_end + i`. Sequences have `room` for that many tokens behind the prompt, at least,
    filled with the end of sequence.
    """
    ids, tensors = encode(adapter, visuals, prompts)
    eos = adapter.tokenizer.eos_token_id
    said = [adapter.tokenizer(a, add_special_tokens=False)["input_ids"] for a in answers]
    joined = [p + a + [eos] * (room - len(a)) for p, a in zip(ids, said, strict=True)]
    inputs, start = padded(adapter, joined, tensors, padding_side)
    prompt_end = start + torch.tensor([len(p) - 1 for p in ids], device=start.device)
    longest = max(len(a) for a in said) + 1
    rows = [[*a, eos] + [-100] * (longest - len(a) - 1) for a in said]
    return inputs, prompt_end, torch.tensor(rows, device=start.device)
