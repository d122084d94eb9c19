"""The registry: names, suggestions, duplicates and plug-ins."""

from __future__ import annotations

import subprocess
import sys

import pytest

from paretoprune import registry
from paretoprune.core.registries import check_kind
from paretoprune.core.strategy import SearchStrategy
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.registry import Entry, Registry
from paretoprune.search.random import RandomSearch


def strategies() -> Registry:
    return Registry(
        "strategy",
        [Entry("random", "paretoprune.search.random:RandomSearch", "uniform")],
        base="paretoprune.core.strategy:SearchStrategy",
    )


@pytest.mark.parametrize("name", ["random", "grid", "tpe", "nsga2", "pymoo-nsga2"])
def test_built_in_strategies_load(name: str) -> None:
    assert issubclass(registry.strategies.load(name), SearchStrategy)


@pytest.mark.parametrize("kind", registry.ALL, ids=lambda r: r.kind)
def test_every_built_in_has_a_summary_and_a_target(kind: Registry) -> None:
    assert list(kind)
    for entry in kind:
        assert entry.summary
        module, _, attribute = entry.target.partition(":")
        assert module.startswith("paretoprune.") and attribute


@pytest.mark.parametrize("kind", registry.ALL, ids=lambda r: r.kind)
def test_built_ins_are_what_plug_ins_have_to_be(kind: Registry) -> None:
    for entry in kind:
        if not entry.is_plugin:
            check_kind(entry.load(), kind.kind, kind.base, kind.named, entry.name)


def test_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry.strategies.load("ngsa2")
    known = ", ".join(sorted(registry.strategies.names()))
    assert str(caught.value).startswith(f"unknown strategy 'ngsa2'; known: {known}.")
    assert "Did you mean 'nsga2'?" in str(caught.value)
    with pytest.raises(UnknownNameError) as caught:
        registry.strategies.entry("zzz")
    assert "Did you mean" not in str(caught.value)


def test_a_name_can_be_registered_once() -> None:
    names = strategies()
    names.register(Entry("mine", "paretoprune.search.random:RandomSearch", "mine", "me"))
    assert names.load("mine") is RandomSearch
    with pytest.raises(InvalidValueError, match="strategy 'mine' is already registered by me"):
        names.register(Entry("mine", "elsewhere:Thing", ""))
    with pytest.raises(InvalidValueError, match="'random' is already registered by built in"):
        names.register(Entry("random", "elsewhere:Thing", ""))


def test_a_broken_built_in_is_a_bug_and_says_so() -> None:
    with pytest.raises(ModuleNotFoundError):
        Registry("strategy", [Entry("gone", "no_such_module_here:X", "")]).load("gone")


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from paretoprune import registry\n"
        "for kind in registry.ALL: print([e.name for e in kind])\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'optuna', 'pymoo', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
