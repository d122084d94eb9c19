"""A checkpoint with its schedule, as evaluation harnesses ask it: for texts and likelihoods.

answering = load_answering("mini-llava", schedule="schedules/best.json")
answering.generate([picture], ["how many stars ?"], new_tokens=4)
answering.log_likelihoods([picture], ["how many stars ?"], [" two"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paretoprune.adapters.prompts import teacher_forced
from paretoprune.deploy.views import PrunedModel, load, pruned
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.policies.files import read_policy
from paretoprune.schedules.presets import Preset, find_preset
from paretoprune.tasks.base import Visual


@dataclass(frozen=True)
class Answering:
    """Asks a loaded model. Both methods take one visual (or a list of them) per prompt."""

    model: PrunedModel

    def generate(
        self,
        visuals: Sequence[Visual],
        prompts: Sequence[str],
        *,
        new_tokens: int,
        until: Sequence[str] = (),
        **options: Any,
    ) -> list[str]:
        """The model's answers, of at most `new_tokens` tokens each, up to the first of `until`.

        Greedy, unless `options` of transformers' `generate` say otherwise.
        """
        said = self.model.answer(
            visuals, prompts, max_new_tokens=new_tokens, **{"do_sample": False, **options}
        )
        return [_up_to(text, until) for text in said]

    def log_likelihoods(
        self, visuals: Sequence[Visual], prompts: Sequence[str], continuations: Sequence[str]
    ) -> list[tuple[float, bool]]:
        """Of each continuation: log-probability in nats, and whether greedy decoding gives it.

        The log-probability is the sum over the continuation's tokens, behind the prompt and without
        an end of sequence; tokens are ranked and dropped by the prompt alone. Raises
        `InvalidValueError` for a continuation without tokens.
        """
        adapter = self.model.adapter
        for text in continuations:
            if not adapter.tokenizer(text, add_special_tokens=False)["input_ids"]:
                raise InvalidValueError(f"the continuation {text!r} has no tokens")
        inputs, prompt_end, labels = teacher_forced(adapter, visuals, prompts, continuations)
        behind = {} if self.model.schedule is None else {"prompt_end": prompt_end}
        with torch.no_grad():
            logits = self.model.model(**inputs, **behind).logits
        lengths = (labels >= 0).sum(1) - 1  # without the end of sequence
        labels = labels[:, :-1].clamp(min=0)
        offsets = torch.arange(labels.shape[1], device=labels.device)
        positions = (prompt_end[:, None] + offsets).clamp(max=logits.shape[1] - 1)
        rows = torch.arange(len(labels), device=labels.device)[:, None]
        predicted = logits[rows, positions].float().log_softmax(-1)  # [B, A, vocabulary]
        each = predicted.gather(2, labels[..., None])[..., 0]
        inside = offsets[None] < lengths[:, None]
        sums = each.masked_fill(~inside, 0.0).sum(1)
        greedy = ((predicted.argmax(-1) == labels) | ~inside).all(1)
        return list(zip(sums.tolist(), greedy.tolist(), strict=True))


def load_answering(
    model: str, *, schedule: str | None = None, pruner: str | None = None, **loading: Any
) -> Answering:
    """Load a checkpoint with a `schedule`: a schedule or policy file, or a preset's name.

    The default is the checkpoint's `paretoprune.json`; `dense` prunes nothing. `pruner` ranks
    instead of the file's or preset's own. `loading` is that of `load_adapter`.
    """
    content = None if schedule in (None, DENSE) else _found(str(schedule))
    if schedule == DENSE and pruner is not None:
        raise InvalidValueError(f"a pruner ({pruner}) has nothing to rank with schedule={DENSE}")
    loaded = load(model, schedule=content, **loading)
    if schedule == DENSE:
        loaded = PrunedModel(loaded.adapter.model, loaded.adapter, None)
    elif pruner is not None:
        if loaded.schedule is None:
            raise InvalidValueError(f"a pruner ({pruner}) needs a schedule to follow; name one")
        view = pruned(loaded.adapter.model, loaded.schedule, pruner=pruner)
        loaded = PrunedModel(view, loaded.adapter, loaded.schedule)
    return Answering(loaded)


DENSE = "dense"
"""The name of no schedule, also where the checkpoint has a `paretoprune.json`."""


def _found(schedule: str) -> Any:
    """The schedule of a file or preset; raises for a name that is neither."""
    if Path(schedule).is_file() or schedule.endswith(".json"):
        return read_policy(Path(schedule))
    preset: Preset = find_preset(schedule)
    return preset


def _up_to(text: str, until: Sequence[str]) -> str:
    ends = [place for place in map(text.find, filter(None, until)) if place >= 0]
    return text[: min(ends)].strip() if ends else text
