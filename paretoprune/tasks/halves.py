"""Splits data into a search and a held-out part by a hash, so that none can be in both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from paretoprune.errors import InvalidValueError, UnknownNameError

SPLITS = ("search", "heldout")


def split_of(group: str) -> str:
    """`search` or `heldout`, by the group's name alone: not by seed, size, order or file."""
    return SPLITS[_hash("half", group) % 2]


def choose(
    groups: Sequence[str], split: str, size: int, *, seed: int = 0, each: int = 1, data: str
) -> list[int]:
    """Numbers of entries of `groups` in `split`, for `size` samples at most, `each` of them many.

    Whole groups together, in an order that depends on the names and the seed alone. Raises
    `InvalidValueError` where the split has fewer.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if size < 1:
        raise InvalidValueError(f"a split needs at least 1 sample, got {size}")
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        if split_of(group) == split:
            members.setdefault(group, []).append(number)
    there = each * sum(map(len, members.values()))
    if there < size:
        asked = "--search-size" if split == "search" else "--heldout-size"
        raise InvalidValueError(
            f"the {split} part of {data} has {there} samples, but {size} were asked for; ask for "
            f"{there} or fewer ({asked}, or --size)"
        )
    chosen: list[int] = []
    for group in sorted(members, key=lambda name: _hash(f"order {seed}", name)):
        if each * (len(chosen) + len(members[group])) > size:
            continue  # a smaller group may still fit
        chosen += members[group]
    if not chosen:
        smallest = each * min(map(len, members.values()))
        raise InvalidValueError(
            f"samples of {data} come in groups of {smallest} or more, but {size} were asked for"
        )
    return chosen


def _hash(purpose: str, group: str) -> int:
    return int.from_bytes(
        hashlib.sha256(f"{purpose}\n{group}".encode("utf-8", "surrogatepass")).digest()[:8], "big"
    )
