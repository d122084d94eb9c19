"""A model class for VLMEvalKit, which a checkpoint and its schedule come into by one line.

    supported_VLM["mini-pruned"] = partial(Paretoprune, pretrained="mini-llava", schedule=...)

Imported only where VLMEvalKit is installed, whose base class it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmeval.vlm.base import BaseModel

from paretoprune.deploy.harnesses.answering import load_answering
from paretoprune.tasks.picture import read_picture

DEFAULT_NEW_TOKENS = 2048


class Paretoprune(BaseModel):  # type: ignore[misc]
    """A checkpoint with a keep schedule; arguments are those of `load_answering`.

    `generation` are options of transformers' `generate`.
    """

    INSTALL_REQ = False
    INTERLEAVE = True
    allowed_types = ("text", "image")

    def __init__(
        self,
        pretrained: str,
        schedule: str | None = None,
        *,
        pruner: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        attn: str = "auto",
        trust_remote_code: bool = False,
        max_new_tokens: int = DEFAULT_NEW_TOKENS,
        **generation: Any,
    ) -> None:
        super().__init__()
        self._answering = load_answering(
            pretrained, schedule=schedule, pruner=pruner, dtype=dtype, device=device, attn=attn,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        self._options = {"new_tokens": max_new_tokens, **generation}

    def generate_inner(
        self, message: Sequence[Mapping[str, str]], dataset: str | None = None
    ) -> str:
        """The answer to a message of texts and paths of pictures, `{"type": ..., "value": ...}`.

        Texts are joined by line ends; pictures stand in front of them, in order.
        """
        pictures = [
            read_picture(Path(part["value"])) for part in message if part["type"] == "image"
        ]
        prompt = "\n".join(part["value"] for part in message if part["type"] == "text")
        (said,) = self._answering.generate([pictures], [prompt], **self._options)
        return said
