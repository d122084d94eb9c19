"""Using a found schedule or policy: pruned models, a checkpoint's `paretoprune.json`, exports.

view = pruned(model, "schedules/best.json")
view.generate(**inputs)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from transformers import BatchFeature, PretrainedConfig, PreTrainedModel

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.verify import try_decoder
from paretoprune.core.options import listed
from paretoprune.errors import BrokenFileError, InvalidValueError, UnsupportedError, brief, plain
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Operators, pruner_of
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.files import (
    SavedPolicy,
    read_policy,
    saved_policy,
    write_policy,
)
from paretoprune.pruning.policies.static import Static
from paretoprune.pruning.view import prune
from paretoprune.schedules import KeepSchedule, ScheduleFile, write_schedule
from paretoprune.schedules.presets import Preset
from paretoprune.tasks.base import Visual
from paretoprune.zoo.load import FOREIGN, adapter_class, find_checkpoint, load_adapter

SCHEDULE_FILE_NAME = "paretoprune.json"
"""Name of the schedule file that `load` looks for in a checkpoint directory."""
Model = TypeVar("Model", bound=PreTrainedModel)
Schedule: TypeAlias = (
    KeepSchedule | ScheduleFile | Policy | SavedPolicy | Preset | Sequence[float] | str | Path
)


def pruned(
    model: Model,
    schedule: Schedule,
    pruner: str | Pruner | None = None,
    *,
    per_picture: bool | None = None,
) -> Model:
    """A view of a transformers model that drops visual tokens by a keep schedule.

    The view has the class of `model` and its whole interface, `generate` included; it shares all
    tensors, and `model` itself is not changed. `schedule` is a schedule, its ratios (one per
    decoder layer), a policy, the file of either, or a published preset; `pruner` names what ranks
    the tokens (default: the file's or preset's, with its settings, else FastV). With `per_picture`
    (default: as the file says, else not) every picture of a prompt keeps at least one visual token
    in each layer whose ratio is above 0; without, every sample does. Each layer's KV
    cache holds only what the layer kept; the cache that `generate` returns goes on with a
    conversation. Raises `InvalidValueError`, `UnknownNameError` or `UnsupportedError` where model,
    schedule and pruner do not fit. Whether the model's decoder can be pruned exactly follows from
    its configuration and modules, and is tried: a few passes of 24 noise tokens through one of its
    layers, or one of each kind.
    """
    if not isinstance(model, PreTrainedModel):
        raise InvalidValueError(
            "a transformers model is pruned, such as the `model` of load_adapter(...), got "
            f"{brief(model)}"
        )
    if hasattr(model, "pruning"):
        raise InvalidValueError(
            f"this {type(model).__name__} is a pruned model already; prune the model it was made of"
        )
    family = adapter_class(model.config.model_type)
    try_decoder(family, model)
    content = read_policy(Path(schedule)) if isinstance(schedule, (str, Path)) else schedule
    if isinstance(content, Preset):
        content = content.content(_layers(model.config))
    if isinstance(content, SavedPolicy):
        pruner = pruner_of(content.about) if pruner is None else pruner
        per_picture = content.about.per_picture if per_picture is None else per_picture
        content = content.policy
    elif isinstance(content, ScheduleFile):
        pruner = pruner_of(content) if pruner is None else pruner
        per_picture = content.per_picture if per_picture is None else per_picture
        content = content.schedule
    elif not isinstance(content, (KeepSchedule, Policy)):
        content = KeepSchedule.from_ratios(_ratios(content))
    ranking = Operators.of("fastv" if pruner is None else pruner, search_knobs=False).single
    return prune(model, family, content, ranking, per_picture=bool(per_picture))


def _ratios(schedule: object) -> list[Any]:
    """The parts of a sequence of keep ratios; raises `InvalidValueError` for other objects."""
    return listed("the keep ratios of a schedule, unless it is named by its file,", schedule)


def _layers(config: PretrainedConfig) -> int:
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    if layers is None:
        raise UnsupportedError(
            f"a configuration of type {config.model_type!r} does not say num_hidden_layers, so no "
            "schedule can be laid over its layers; choose a vision-language model with a decoder"
        )
    return int(layers)


@dataclass(frozen=True)
class PrunedModel:
    """A loaded checkpoint with its schedule: `model` is the pruned view, `adapter` makes inputs.

    Without a `paretoprune.json` the `schedule` is None and `model` the dense model.
    """

    model: PreTrainedModel
    adapter: Adapter
    schedule: ScheduleFile | SavedPolicy | None

    def inputs(self, visuals: Sequence[Visual], prompts: Sequence[str]) -> BatchFeature:
        """Arguments of `model.generate`, padded on the left."""
        return self.adapter.inputs(visuals, prompts)

    def answer(
        self, visuals: Sequence[Visual], prompts: Sequence[str], **options: Any
    ) -> list[str]:
        """Answers of `model.generate(..., **options)`, without prompts and special tokens."""
        inputs = self.inputs(visuals, prompts)
        with torch.no_grad():
            said = self.model.generate(**inputs, **{"max_new_tokens": 64, **options})
        start = inputs["input_ids"].shape[1]
        texts = self.adapter.tokenizer.batch_decode(said[:, start:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def load(model: str, *, schedule: Schedule | None = None, **loading: Any) -> PrunedModel:
    """Load a checkpoint with the schedule in its `paretoprune.json`, or with another `schedule`.

    `model` and `loading` (dtype, device, attn, trust_remote_code) are those of `load_adapter`.
    """
    source, local = find_checkpoint(model)
    schedule_file = Path(source) / SCHEDULE_FILE_NAME
    if schedule is None and local and schedule_file.exists():
        schedule = schedule_file
    adapter = load_adapter(model, **loading)
    if schedule is None:
        return PrunedModel(adapter.model, adapter, None)
    content = as_file(schedule, layers=_layers(adapter.model.config))
    return PrunedModel(pruned(adapter.model, content), adapter, content)


def as_file(
    schedule: Schedule, pruner: str = "fastv", *, layers: int | None = None
) -> ScheduleFile | SavedPolicy:
    """The content of a schedule file for any form of a schedule; of a policy, the policy.

    A preset is carried to a decoder of `layers`, or stays as it was published.
    """
    if isinstance(schedule, (str, Path)):
        saved = read_policy(Path(schedule))
        return saved.about if isinstance(saved.about, ScheduleFile) else saved
    if isinstance(schedule, (ScheduleFile, SavedPolicy)):
        return schedule
    if isinstance(schedule, Preset):
        return schedule.content(schedule.layers if layers is None else layers)
    if isinstance(schedule, Policy):
        return saved_policy(schedule, pruner)
    if not isinstance(schedule, KeepSchedule):
        schedule = KeepSchedule.from_ratios(_ratios(schedule))
    return ScheduleFile(pruner=pruner, keep=list(schedule.ratios))


def save_with_checkpoint(folder: Path, schedule: Schedule, pruner: str = "fastv") -> Path:
    """Write `paretoprune.json` into a checkpoint directory, where `load` finds it.

    Raises `InvalidValueError` where the checkpoint has another number of decoder layers and
    `BrokenFileError` where there is none.
    """
    from transformers import AutoConfig

    if not folder.is_dir():
        raise BrokenFileError(f"checkpoint directory {folder} does not exist")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except FOREIGN as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(f"{folder} holds no checkpoint: {plain(reason)}") from error
    layers = _layers(config)
    content = as_file(schedule, pruner, layers=layers)
    policy = content.policy if isinstance(content, SavedPolicy) else Static(content.schedule)
    if policy.layers != layers:
        raise InvalidValueError(
            f"the schedule has {policy.layers} layers, the checkpoint in {folder} has {layers}"
        )
    about = content.about if isinstance(content, SavedPolicy) else content
    pruner_of(about)  # raises if it is wrong
    file = folder / SCHEDULE_FILE_NAME
    try:
        if isinstance(about, ScheduleFile):
            write_schedule(file, about)
        else:
            write_policy(file, policy, **about.kept)
    except OSError as error:
        raise BrokenFileError(f"cannot write {file}: {error.strerror}") from error
    return file
