"""The model class of lmms-eval's plug-in: `lmms-eval --model paretoprune --model_args ...`.

Imported by lmms-eval only, which this module therefore imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, unwrap_generation_output
from lmms_eval.api.model import lmms
from PIL.Image import Image
from tqdm import tqdm

from paretoprune.deploy.harnesses.answering import load_answering
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.tasks.picture import as_picture

DEFAULT_NEW_TOKENS = 1024
"""lmms-eval's own models take as many where a task names none."""


class Paretoprune(lmms):  # type: ignore[misc]
    """A checkpoint with a keep schedule, on any of lmms-eval's tasks that show pictures.

    Arguments are those of `load_answering`; `batch_size` questions are answered together. Unknown
    ones raise `TypeError`, as in lmms-eval's own models.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "mini-llava",
        schedule: str | None = None,
        pruner: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
        attn: str = "auto",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self._batch = _whole("batch_size", batch_size)
        self._device = torch.device(_device(device))
        self._answering = load_answering(
            str(pretrained), schedule=schedule, pruner=pruner, dtype=dtype,
            device=str(self._device), attn=attn, trust_remote_code=trust_remote_code,
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the model lies; lmms-eval gathers there when it runs on several."""
        return self._device

    @property
    def batch_size(self) -> int:
        """Questions that are answered together."""
        return self._batch

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """(loss, is_greedy) of each request: minus the log-probability of its continuation.

        lmms-eval takes the *least* of these for a choice (`np.argmin` in its
        `ConfigurableTask.process_results`), whatever its interface says, so its own models return
        losses, too. Theirs are means over tokens; this is the sum, in nats, so that its
        `acc_norm`, which divides by the length, normalises once.
        """
        found = []
        for part in self._parts([request.args for request in requests]):
            visuals, prompts, continuations = [], [], []
            for args in part:
                if len(args) != 6:
                    raise UnsupportedError(
                        "likelihoods are computed behind a question; the metric acc_mutual_info "
                        "asks for them without one"
                    )
                context, target, to_visual, number, task, split = args
                document = self.task_dict[task][split][number]
                visuals.append(_pictures(to_visual(document)))
                prompts.append(context)
                continuations.append(target if isinstance(target, str) else target(document))
            each = self._answering.log_likelihoods(visuals, prompts, continuations)
            found += [_handed_on((-value, greedy)) for value, greedy in each]
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The model's answer to each request, by the task's generation arguments."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            key = json.dumps(request.args[1], sort_keys=True, default=str)
            groups.setdefault(key, []).append(place)
        said: dict[int, str] = {}
        for indices in groups.values():
            for part in self._parts(indices):
                alike = [requests[place].args for place in part]
                until, options = generation(alike[0][1])
                visuals = [
                    _pictures(to_visual(self.task_dict[task][split][number]))
                    for _, _, to_visual, number, task, split in alike
                ]
                texts = self._answering.generate(
                    visuals, [args[0] for args in alike], until=until, **options
                )
                for place, args, text in zip(part, alike, texts, strict=True):
                    said[place] = text
                    self.cache_hook.add_partial("generate_until", (args[0], args[1]), text)
        return [said[place] for place in range(len(requests))]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refused: a conversation would have to be prompted anew in each round."""
        raise UnsupportedError("the paretoprune model of lmms-eval answers single rounds only")

    def _parts(self, items: Sequence[Any]) -> Iterator[list[Any]]:
        """Batches of the items, in order."""
        left = iter(tqdm(items, desc="paretoprune", disable=self.rank != 0))
        while part := list(islice(left, self._batch)):
            yield part


def generation(arguments: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """A task's `generation_kwargs` as texts that end an answer, and options for `Answering`.

    A temperature above 0 samples, unless `do_sample` is false, as in lmms-eval's own models.
    """
    given = dict(arguments)
    until = given.pop("until", None) or []
    until = [until] if isinstance(until, str) else list(until)
    longest = given.pop("max_new_tokens", None) or DEFAULT_NEW_TOKENS
    temperature, top_p = given.pop("temperature", None) or 0, given.pop("top_p", None)
    options: dict[str, Any] = {"new_tokens": _whole("max_new_tokens", longest)}
    if given.pop("do_sample", temperature > 0) and temperature > 0:
        options |= {"do_sample": True, "temperature": temperature}
        options |= {} if top_p is None else {"top_p": top_p}
    beams = given.pop("num_beams", None) or 1
    options |= {} if beams == 1 else {"num_beams": beams}
    return until, options


def _handed_on(likelihood: tuple[float, bool]) -> Any:
    """The pair, packed where lmms-eval would make a text of it, as version 0.7.3 does."""
    kept = unwrap_generation_output(likelihood)[0] == likelihood
    return likelihood if kept else GenerationResult(likelihood)


def _pictures(found: Any) -> list[Image]:
    """The pictures of a document; raises `UnsupportedError` for other objects."""
    items = [] if found is None else list(found)
    for item in items:
        if not isinstance(item, Image):
            raise UnsupportedError(
                f"the paretoprune model of lmms-eval takes pictures, the task shows {item!r:.80}"
            )
    return [as_picture(item) for item in items]


def _whole(name: str, value: Any) -> int:
    if not str(value).isdecimal() or int(value) < 1:
        raise InvalidValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
    return int(value)


def _device(asked: str | None) -> str:
    """Of several processes, each has a GPU of its own, numbered as its launcher says."""
    import os

    if asked is None:
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    local = os.environ.get("LOCAL_RANK")
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return f"cuda:{local}" if asked == "cuda" and several and local else asked
