"""Splits data into a search and a held-out part by a hash, so that none can be in both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from paretoprune.errors import InvalidValueError, UnknownNameError

SPLITS = ("search", "heldout")
MIN_HASHED_GROUPS = 100
"""From this number of groups on, a hash splits them evenly enough."""


def split_of(group: str) -> str:
    """`search` or `heldout`, by the group's name alone: not by seed, size, order or file."""
    return SPLITS[_hash("half", group) % 2]


def even_split(groups: Sequence[str]) -> dict[str, str]:
    """`search` or `heldout` for each group by name, as many entries in both as groups allow.

    A hash leaves one part of a few groups small or empty, so these are dealt out, large ones first,
    in an order that depends on their names alone; where one is added, others may change sides. Many
    groups are split as `split_of` does.
    """
    sizes = Counter(groups)
    if len(sizes) >= MIN_HASHED_GROUPS:
        return {group: split_of(group) for group in sizes}
    splits: dict[str, str] = {}
    counts = dict.fromkeys(SPLITS, 0)
    for group in sorted(sizes, key=lambda name: (-sizes[name], _hash("deal", name))):
        part = min(SPLITS, key=counts.__getitem__)
        splits[group] = part
        counts[part] += sizes[group]
    return splits


def choose(
    groups: Sequence[str],
    split: str,
    size: int,
    *,
    seed: int = 0,
    each: int = 1,
    data: str,
    part_of: Callable[[str], str] = split_of,
) -> list[int]:
    """Numbers of entries of `groups` in `split`, for `size` samples at most, `each` of them many.

    Whole groups together, in an order that depends on the names and the seed alone; `part_of` says
    which part a group is in. Raises `InvalidValueError` where the split has fewer.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if size < 1:
        raise InvalidValueError(f"a split needs at least 1 sample, got {size}")
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        if part_of(group) == split:
            members.setdefault(group, []).append(number)
    there = each * sum(map(len, members.values()))
    if not there:
        few = len(set(groups))
        raise InvalidValueError(
            f"the {split} part of {data} is empty: of its {few} picture(s) or group(s), each is in "
            f"one part alone; {'2 or more are needed' if few < 2 else 'more are needed'}"
        )
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
