"""A commented study file to start from: every setting with its meaning, at its default."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import tomlkit

from paretoprune.comparison.configuration import StudyFile
from paretoprune.search.specs import DEFAULT_STRATEGIES

EXAMPLES: dict[str, Any] = {
    "strategy": list(DEFAULT_STRATEGIES),
    "task": ["minivqa"],
    "data": ["data/pope.parquet"],
    "pruner_knobs": True,
    "search_size": 128,
    "heldout_size": 192,
    "levels": 18,
    "reference": "grid:fine",
    "preset": ["fastv:k=2,r=0.5"],
    "track": ["tensorboard:runs"],
    "storage": "postgresql://me@host/studies",
    "workers": 8,
    "cluster": "auto",
    "out": "results",
}
"""What stands in a comment where the default is to choose."""
NOTES = {
    "strategy": 'Options also as a table: {name = "tpe", startup = 5}.',
    "seeds": "A number N, for 0 to N-1, or a list such as [0, 3, 7].",
    "model": "With several models, tasks or pruners, each combination is compared by itself.",
    "trust_remote_code": "This is only accepted together with the flag itself.",
    "track": "This is only accepted together with the flag itself.",
    "storage": "This is only accepted together with the flag itself.",
    "cluster": "This is only accepted together with the flag itself.",
    "out": "A folder beside this file.",
}
WIDTH = 96


def commented_study(meanings: Mapping[str, str]) -> str:
    """The text of a study file that holds the defaults; `meanings` are comments by setting."""
    document = tomlkit.document()
    for line in (
        "A study, run by: paretoprune compare --config FILE",
        "Flags on the command line come before what is written here.",
    ):
        document.add(tomlkit.comment(line))
    for name, value in StudyFile().model_dump().items():
        document.add(tomlkit.nl())
        for line in _lines(name, meanings):
            document.add(tomlkit.comment(line))
        if value in (None, ()):
            example = tomlkit.dumps({name: EXAMPLES.get(name, [])}).strip()
            document.add(tomlkit.comment(example))
        else:
            document.add(name, list(value) if isinstance(value, tuple) else value)
    return tomlkit.dumps(document)


def _lines(name: str, meanings: Mapping[str, str]) -> list[str]:
    meaning = re.sub(r"repeat for several", "several in a list", meanings.get(name, ""))
    meaning = re.sub(r"\[default: (.*)\]$", r"Default: \1.", meaning)
    return textwrap.wrap(f"{meaning} {NOTES.get(name, '')}".strip(), WIDTH - 2)
