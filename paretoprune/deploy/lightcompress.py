"""LightCompress's token-reduction configuration, where it can express a schedule.

Its FastV drops once: `pruning_loc` is the layer before which, `rate` the share that goes; tokens
are ranked by the layer before, as in `paretoprune`. Its PyramidDrop drops at each layer of
`layer_list` down to shares of the full count (`image_token_ratio_list`), ranked by the layer
itself. (LightCompress, docs/en/source/advanced/token_reduction.md.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from paretoprune.errors import BrokenFileError, InvalidValueError, UnsupportedError
from paretoprune.schedules.files import ScheduleFile


def lightcompress(content: ScheduleFile) -> str:
    """The `sparse` section of a LightCompress YAML file, with a note on rounding.

    Raises `UnsupportedError` for a schedule or pruner that LightCompress has no words for.
    """
    if content.per_picture:
        raise UnsupportedError(
            "LightCompress has no form of per_picture, a token of each picture; a schedule without "
            "it can be exported"
        )
    drops = _drops(content.keep)
    if content.pruner == "fastv":
        special = _fastv(drops)
    elif content.pruner == "pyramiddrop":
        special = _pyramiddrop(drops)
    else:
        raise UnsupportedError(
            f"LightCompress has no form of pruner {content.pruner!r} that takes a keep schedule; "
            "schedules of 'fastv' (one drop) and 'pyramiddrop' can be exported"
        )
    section = {"sparse": {"method": "TokenReduction", "special": special}}
    note = (
        "# From a paretoprune keep schedule; add it to your `model` and `eval` sections.\n"
        "# Where a share of the visual tokens is no whole number, LightCompress's FastV rounds\n"
        "# half to even and its PyramidDrop rounds down; paretoprune rounds half up.\n"
    )
    return note + str(yaml.safe_dump(section, sort_keys=False))


def write_lightcompress(file: Path, content: ScheduleFile) -> None:
    """Write that section to a new file; raises `InvalidValueError` if there is one already."""
    text = lightcompress(content)
    if file.exists():
        raise InvalidValueError(f"--out {file} exists; name a new file")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BrokenFileError(f"cannot write {file}: {error.strerror}") from error


def _drops(keep: list[float]) -> list[tuple[int, float]]:
    """(layer, share kept from it on) of every drop."""
    before = 1.0
    drops = []
    for layer, ratio in enumerate(keep):
        if ratio < before:
            drops.append((layer, ratio))
        before = ratio
    return drops


def _fastv(drops: list[tuple[int, float]]) -> dict[str, Any]:
    if len(drops) != 1:
        raise UnsupportedError(
            f"LightCompress's FastV drops tokens once, this schedule drops {len(drops)} times"
        )
    ((layer, ratio),) = drops
    if layer < 1 or not ratio:
        raise UnsupportedError(
            "LightCompress's FastV drops a part of the tokens behind layer 0 or later; this "
            f"schedule keeps {ratio:.0%} of them from layer {layer} on"
        )
    return {"method": "FastV", "pruning_loc": layer, "rate": round(1.0 - ratio, 6)}


def _pyramiddrop(drops: list[tuple[int, float]]) -> dict[str, Any]:
    if not drops:
        raise UnsupportedError("this schedule keeps every token: there is nothing to export")
    if not drops[-1][1]:
        raise UnsupportedError(
            "LightCompress's PyramidDrop keeps some tokens in every layer, this schedule keeps "
            f"none from layer {drops[-1][0]} on"
        )
    return {
        "method": "PyramidDrop",
        "layer_list": [layer for layer, _ in drops],
        "image_token_ratio_list": [round(ratio, 6) for _, ratio in drops],
    }
