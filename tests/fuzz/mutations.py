"""Turns valid files into hostile ones: values of other types, wrong sizes, broken bytes."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", " ", "a" * 10_000, "\x00", "\ud800", "\u202e",
    "../../../etc/passwd", "/etc/passwd", "C:\\x", "<script>alert(1)</script>", "';--", "${x}",
    "{0.__class__}", "%s%n", "fastv", "mini-llava", "1", "nan", "-", "🎈", "\r\n", "[red]x[/red]",
    [], [[]], [None], [0] * 1000, {}, {"": {}}, {"a": [1, {"b": None}]},
]  # fmt: skip
"""Values that programs trip over."""

DEEP = 100_000
BYTES = {
    "nothing": b"",
    "blanks": b" \n\n",
    "lists in lists": b"[" * DEEP + b"]" * DEEP,
    "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a row of lists in lists": b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "tables in tables": b"a = " + b"[" * DEEP + b"]" * DEEP,
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NULs": b"\0" * 100,
    "compressed": b"\x1f\x8b\x08" + b"\0" * 50,
    "Parquet": b"PAR1" + b"\0" * 60 + b"PAR1",
    "a number": b"3",
    "a text": b'"x"',
    "null": b"null",
    "ends early": b'{"a": [1, ',
}
"""Whole files that no reader of ours should take, or trip over."""
JSON_LETTERS = {
    "nested": "[" * DEEP + "]" * DEEP,
    "nan": "NaN",
    "infinite": "-Infinity",
    "an exponent": "1e999",
    "digits": "9" * 5000,
    "twice": '{"a": 1, "a": 2}',
}
"""Values that JSON does not have, or not so many of."""
REPEATED = re.compile(r"\{\s*(\"[a-z_]+\": ?(?:\"[^\"]*\"|[0-9.]+))")
"""The first key of an object, with its value."""


def mutated(text: str, rng: random.Random) -> bytes:
    """One hostile version of a JSON text: its values changed, or its bytes."""
    kind = rng.random()
    if kind < 0.75:
        value = json.loads(text)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            value = _changed(value, rng)
        return json.dumps(value).encode("utf-8")
    return broken(text.encode("utf-8"), rng)


def case_of(seeds: dict[str, str], data: bytes) -> tuple[str, bytes] | None:
    """The file that a fuzzer's bytes stand for: its name and content; None for too few bytes.

    The first byte chooses a valid file, the second whether the rest mutates or replaces it.
    """
    if len(data) < 2:
        return None
    names = sorted(seeds)
    name = names[data[0] % len(names)]
    if data[1] >= 128:
        return name, data[2:]
    rng = random.Random(data[2:])
    text = seeds[name]
    as_json = name.endswith(".json")
    return name, mutated(text, rng) if as_json else broken(text.encode("utf-8"), rng)


def broken(content: bytes, rng: random.Random) -> bytes:
    """Bytes that end early, are flipped, repeated, or have something strange in between."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            del data[place:]
        elif kind == 1 and data:
            data[place % len(data)] = rng.randrange(256)
        elif kind == 2:
            data[place:place] = rng.choice(
                (
                    b"\x00",
                    b"\xff\xfe",
                    b"[" * 5000,
                    b'{"a":' * 2000,
                    b"9" * 5000,
                    b"NaN",
                    b"\\ud800",
                )
            )
        elif kind == 3:
            other = rng.randrange(len(data) + 1)
            del data[min(place, other) : max(place, other)]
        elif kind == 4:
            other = rng.randrange(len(data) + 1)
            data[place:place] = data[min(place, other) : max(place, other)][:2000]
        else:
            shown = json.dumps(rng.choice(STRANGE)).encode()
            data[place:place] = shown
    return bytes(data)


def _changed(value: Any, rng: random.Random) -> Any:
    """The value with one thing in it changed, anywhere."""
    places = list(_places(value))
    if not places:
        return copy.deepcopy(rng.choice(STRANGE))
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.6:
        holder[key] = copy.deepcopy(rng.choice(STRANGE))
    elif kind < 0.75:
        del holder[key]
    elif kind < 0.85 and isinstance(holder[key], int | float) and abs(holder[key]) < 1e300:
        holder[key] = holder[key] * rng.choice((-1, 0, 2, 1.5, 1e6, 1e-9))
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(rng.choice([*STRANGE, holder[key]])))
    else:
        holder[rng.choice(("", "x", "format", "a" * 200, str(key).upper()))] = copy.deepcopy(
            holder[key]
        )
    return value


def _places(value: Any) -> Any:
    if not isinstance(value, dict | list):
        return
    for key in list(value if isinstance(value, dict) else range(len(value))):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
