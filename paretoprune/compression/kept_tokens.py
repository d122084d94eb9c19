"""Records the visual tokens of one question that schedules keep, for drawings.

The pruned view itself answers the question; its KV cache says which tokens each layer held. So
a drawing shows the tokens that were processed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.model_access import CACHE
from paretoprune.adapters.prompts import visual_mask
from paretoprune.adapters.token_geometry import TokenBoxes
from paretoprune.compression.kept import Example, Pruned, SeenAs, Step
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.cache import PrunedCache
from paretoprune.pruning.merging import Merge, watched
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.view import prune
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.base import Picture, Sample, Video, Visual, shown
from paretoprune.tasks.scoring import Generation, Judge

DEFAULT_NEW_TOKENS = 32
MAX_SIDE_PIXELS = 1024
"""Pixels of a record's pictures, along the longer side."""
EXAMPLE_SIDE = 336
"""The same of example pictures in a report."""
LOSSLESS_BYTES = 60_000
"""Pictures that are larger as PNG are stored as JPEG."""


@dataclass(frozen=True)
class Wanted:
    """A schedule, or a policy, and a pruner to be shown under a label."""

    label: str
    schedule: KeepSchedule | Policy
    pruner: Pruner


@dataclass(frozen=True)
class Question:
    """A prompt with its pictures and, where they are known, its answer, family and sample id.

    With a `judge`, a generated answer is right from 0.5 on; else it must be the answer itself.
    """

    visual: Visual
    prompt: str
    answer: str | None = None
    family: str | None = None
    sample: str | None = None
    judge: Judge | None = None

    @classmethod
    def of(cls, sample: Sample) -> Question:
        """A sample's."""
        way = sample.scoring
        judge = way.judge if isinstance(way, Generation) else None
        return cls(sample.image, sample.prompt, sample.answer, sample.family, sample.id, judge)


def kept_tokens(
    adapter: Adapter,
    question: Question,
    wanted: Sequence[Wanted],
    *,
    model_name: str = "model",
    new_tokens: int = DEFAULT_NEW_TOKENS,
    max_side_pixels: int = MAX_SIDE_PIXELS,
    per_picture: bool = False,
) -> Example:
    """Answer one question densely and with each schedule, greedily, and record the kept tokens.

    Pictures of the record are at most `max_side_pixels` pixels long. With `per_picture` each of the
    question's pictures keeps a token where a ratio is above 0. Raises `InvalidValueError` for
    schedules that do not fit, and `UnsupportedError` where the family does not say where its visual
    tokens stand.
    """
    items = shown(question.visual)
    if not items:
        raise InvalidValueError(f"the prompt {question.prompt[:60]!r} shows no picture")
    inputs = adapter.inputs([question.visual], [question.prompt])
    visual = visual_mask(adapter, inputs["input_ids"])[0].nonzero()[:, 0]
    boxes = adapter.token_boxes(items, inputs)
    if len(boxes.boxes) != len(visual):
        raise InvalidValueError(
            f"adapter {adapter.family!r} gives boxes of {len(boxes.boxes)} visual tokens, but "
            f"the prompt has {len(visual)}"
        )
    known = _known(adapter, question.answer)
    longest = new_tokens if known is None else max(new_tokens, len(known))
    right = partial(_right, adapter, known, question.judge)
    said, _ = _generate(adapter.model, inputs, longest)
    pruned = [_pruned(adapter, inputs, visual, one, right, longest, per_picture) for one in wanted]
    pictures, views = _pictures(items, boxes, max_side_pixels)
    return Example(
        question=question.prompt,
        answer=question.answer,
        family=question.family,
        sample=question.sample,
        model=model_name,
        pictures=pictures,
        views=views,
        view=boxes.view.tolist(),
        boxes=boxes.boxes.clip(0.0, 1.0).round(5).tolist(),
        dense_answer=_text(adapter, said),
        dense_right=right(said),
        pruned=pruned,
    )


def kept_examples(
    adapter: Adapter,
    samples: Sequence[Sample],
    count: int,
    wanted: Sequence[Wanted],
    *,
    model_name: str,
    per_picture: bool,
    observe: Callable[[int, int], None] | None = None,
) -> list[Example]:
    """Kept tokens of the first sample of each of `count` question families, for a report.

    [] where the model's family does not say where its visual tokens stand. `observe` is called with
    done and total.
    """
    first = {sample.family: sample for sample in reversed(samples)}
    chosen = [s for s in samples if first[s.family] is s][:count]
    found = []
    for done, sample in enumerate(chosen):
        if observe is not None:
            observe(done, len(chosen))
        try:
            kept = kept_tokens(
                adapter, Question.of(sample), wanted,
                model_name=model_name, max_side_pixels=EXAMPLE_SIDE, per_picture=per_picture,
            )  # fmt: skip
        except UnsupportedError:
            return []
        found.append(kept)
    return found


def _pruned(
    adapter: Adapter,
    inputs: BatchFeature,
    visual: Tensor,
    one: Wanted,
    right: Callable[[list[int]], bool | None],
    longest: int,
    per_picture: bool,
) -> Pruned:
    merges: list[Merge] = []
    view = prune(
        adapter.model, type(adapter), one.schedule, watched(one.pruner, merges),
        per_picture=per_picture,
    )  # fmt: skip
    said, cache = _generate(view, inputs, longest)
    assert isinstance(cache, PrunedCache)
    decided = view.pruning.decided
    number = {position: i for i, position in enumerate(visual.tolist())}
    held = [set(layer.positions[0].tolist()) for layer in cache.layers]
    merged = {
        m.layer: [
            (number[source], number[target])
            for source, target in zip(m.source.tolist(), m.target.tolist(), strict=True)
            # a picture's only token may have taken the place of the pruner's own choice
            if source not in held[m.layer] and target in held[m.layer]
        ]
        for m in merges
    }
    steps: list[Step] = []
    for index, layer in enumerate(cache.layers):
        kept = [number[p] for p in layer.positions[0].tolist() if p in number]
        if not steps or kept != steps[-1].kept or index in merged:
            steps.append(Step(layer=index, kept=kept, merged=merged.get(index, [])))
    return Pruned(
        label=one.label,
        pruner=one.pruner.label,
        keep=[] if decided is None else decided[0].tolist(),
        steps=steps,
        answer=_text(adapter, said),
        right=right(said),
    )


def _generate(
    model: PreTrainedModel, inputs: BatchFeature, longest: int
) -> tuple[list[int], object]:
    """The greedy answer's tokens, and the cache."""
    with torch.inference_mode():
        out = model.generate(
            **inputs, max_new_tokens=longest, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, return_dict_in_generate=True,
        )  # fmt: skip
    start = inputs["input_ids"].shape[1]
    return out.sequences[0, start:].tolist(), getattr(out, CACHE)


def _text(adapter: Adapter, said: list[int]) -> str:
    return str(adapter.tokenizer.decode(said, skip_special_tokens=True)).strip()


def _known(adapter: Adapter, answer: str | None) -> list[int] | None:
    """Tokens of the known answer and the end, as `Adapter.teacher_forced` scores them."""
    if answer is None:
        return None
    ids = adapter.tokenizer(answer, add_special_tokens=False)["input_ids"]
    return [*ids, adapter.tokenizer.eos_token_id]


def _right(
    adapter: Adapter, known: list[int] | None, judge: Judge | None, said: list[int]
) -> bool | None:
    if judge is not None:
        return judge(_text(adapter, said)) >= 0.5
    return None if known is None else said[: len(known)] == known


def _pictures(
    items: Sequence[Picture | Video], boxes: TokenBoxes, max_side_pixels: int
) -> tuple[list[bytes], list[SeenAs]]:
    """The pictures of all views as base64 of files, each once, and which view shows which."""
    numbers: dict[tuple[int, int], int] = {}
    views = []
    for view in boxes.views:
        number = numbers.setdefault((view.item, view.frame), len(numbers))
        views.append(SeenAs(picture=number, kind=view.kind))
    files = [_file(items[item], frame, max_side_pixels) for item, frame in numbers]
    return files, views


def _file(item: Picture | Video, frame: int, max_side_pixels: int) -> bytes:
    import base64

    still = item.frames[frame] if isinstance(item, Video) else item
    picture = still if isinstance(still, Image.Image) else Image.fromarray(np.asarray(still))
    picture = picture.convert("RGB")
    picture.thumbnail((max_side_pixels, max_side_pixels), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    if stream.tell() > LOSSLESS_BYTES:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
    return base64.b64encode(stream.getvalue())
