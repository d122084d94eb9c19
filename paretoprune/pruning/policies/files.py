"""Policy files: JSON, with learned weights in a safetensors file next to it, named by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from paretoprune.errors import BrokenFileError, InvalidValueError, ParetopruneError, share_hint
from paretoprune.files import read_stored, read_text, require_regular, write_whole
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.static import Static
from paretoprune.registry import policies as registered
from paretoprune.schedules.files import (
    MAX_SCHEDULE_BYTES,
    ScheduleFile,
    default_left_out,
    read_schedule,
)

if TYPE_CHECKING:
    from torch import Tensor

FORMAT: Literal["paretoprune-policy/1"] = "paretoprune-policy/1"


class PolicyFile(BaseModel):
    """A policy by name with its settings, its pruner, and its score and compute in the search.

    `tensors` names the file of its learned weights in the same folder, if any. `key` is the
    policy's name by content, which reading checks. `per_picture`, score and compute are those of a
    schedule file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal["paretoprune-policy/1"] = FORMAT
    policy: str = Field(min_length=1, max_length=100)
    settings: dict[str, Any] = Field(max_length=100)
    tensors: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}\.safetensors$")
    key: str = Field(pattern=r"^[0-9a-f]{16}$")
    pruner: str = Field(min_length=1, max_length=100)
    pruner_settings: dict[str, float | int | str] | None = Field(default=None, max_length=100)
    per_picture: bool = False
    model: str | None = None
    found_by: str | None = None
    score: float | None = None
    compute: float | None = None

    @property
    def kept(self) -> dict[str, Any]:
        """Fields that do not follow from the policy itself: pruner, origin, score and compute."""
        follows = {"format", "policy", "settings", "tensors", "key"}
        return self.model_dump(exclude=follows | default_left_out(self), exclude_none=True)


@dataclass(frozen=True)
class SavedPolicy:
    """A policy and the other content of its file; of a schedule file, the static policy."""

    policy: Policy
    about: PolicyFile | ScheduleFile


def saved_policy(policy: Policy, pruner: str) -> SavedPolicy:
    """A policy as a file would hold it, for a pruner by name."""
    about = PolicyFile(
        policy=policy.name, settings=dict(policy.settings), key=policy.key, pruner=pruner
    )
    return SavedPolicy(policy, about)


def write_policy(file: Path, policy: Policy, *, pruner: str, **about: Any) -> PolicyFile:
    """Write a policy file and, where it has weights, the file of its tensors next to it.

    Policies that differ in their budget alone share the file of tensors. `about` are the further
    fields of `PolicyFile`.
    """
    tensors = _store(file.parent, policy.tensors) if policy.tensors else None
    content = PolicyFile(
        policy=policy.name, settings=dict(policy.settings), tensors=tensors, key=policy.key,
        pruner=pruner, **about,
    )  # fmt: skip
    stored = content.model_dump(exclude_none=True, exclude=default_left_out(content))
    text = json.dumps(stored, indent=1)
    write_whole(file, (text + "\n").encode())
    return content


def read_policy(file: Path) -> SavedPolicy:
    """Read a policy file or a schedule file; raises `BrokenFileError` naming the fault."""
    if _format_of(file) != FORMAT:
        content = read_schedule(file)
        return SavedPolicy(Static(content.schedule), content)
    about = read_stored(file, "policy file", PolicyFile, MAX_SCHEDULE_BYTES)
    kind = registered.load(about.policy)
    tensors = {} if about.tensors is None else _read(file.parent / about.tensors)
    try:
        policy: Policy = kind.restore(about.settings, tensors)
    except ParetopruneError as error:
        raise BrokenFileError(f"policy file {file}: {error}") from error
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:500]
        raise BrokenFileError(f"policy file {file}: these settings do not fit: {reason}") from error
    if policy.key != about.key:
        raise BrokenFileError(
            f"policy file {file}: its content is that of policy {policy.key}, not of {about.key}: "
            "settings or tensors were changed"
        )
    return SavedPolicy(policy, about)


def _format_of(file: Path) -> str | None:
    """The format that a JSON file names; None where it cannot be read as one."""
    try:  # a fault is reported when the file is read in full
        content = json.loads(read_text(file, "policy file", MAX_SCHEDULE_BYTES))
    except (BrokenFileError, ValueError, RecursionError):
        return None
    return content.get("format") if isinstance(content, dict) else None


def _store(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    from safetensors.torch import save

    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    name = f"{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
    if not (folder / name).exists():
        write_whole(folder / name, data)
    return name


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_regular(file, "file of the policy's tensors")
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise BrokenFileError(f"cannot read the policy's tensors {file}: {error}") from error


def check_budget(budget: float | None) -> None:
    """Raise `InvalidValueError` for a budget that is no relative compute."""
    if budget is not None and not 0 <= budget <= 1:  # nan too
        raise InvalidValueError(
            f"a budget is a relative compute in 0..1, got {budget:g}{share_hint(budget)}"
        )
