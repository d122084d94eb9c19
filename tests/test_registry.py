"""The registry: names, suggestions, duplicates and plug-ins."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from paretoprune import registry
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError
from paretoprune.registry import Entry, Registry
from paretoprune.search.base import SearchStrategy
from paretoprune.search.random import RandomSearch


def plug_in(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(
        registry, "entry_points", lambda *, group: [p for p in points if p.group == group]
    )


def strategies() -> Registry:
    return Registry(
        "strategy", [Entry("random", "paretoprune.search.random:RandomSearch", "uniform")]
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


def test_a_plug_in_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "paretoprune.search.random:RandomSearch", "paretoprune.strategies")
    plug_in(monkeypatch, point)
    names = strategies()
    assert names.names() == ["random", "theirs"]
    assert [e.name for e in names] == ["random", "theirs"]
    assert names.entry("theirs").origin == "a plug-in"
    assert names.load("theirs") is RandomSearch


@pytest.mark.parametrize("kind", [r.kind for r in registry.ALL])
def test_the_group_is_the_plural(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[str] = []

    def record(*, group: str) -> list[EntryPoint]:
        groups.append(group)
        return []

    monkeypatch.setattr(registry, "entry_points", record)
    Registry(kind, []).names()
    plural = {"strategy": "strategies", "policy": "policies"}.get(kind, f"{kind}s")
    assert groups == [f"paretoprune.{plural}"]


def test_a_plug_in_cannot_take_a_name_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "paretoprune.strategies"
    plug_in(
        monkeypatch,
        EntryPoint("random", "evil:Random", group),
        EntryPoint("theirs", "paretoprune.search.random:RandomSearch", group),
        EntryPoint("theirs", "other:Thing", group),
    )
    names = strategies()
    with pytest.warns(UserWarning) as caught:
        assert names.names() == ["random", "theirs"]
    assert [str(w.message) for w in caught] == [
        "strategy 'random' from a plug-in is ignored: the name is already registered by built in",
        "strategy 'theirs' from a plug-in is ignored: the name is already registered by a plug-in",
    ]
    assert names.load("random") is RandomSearch
    assert names.load("theirs") is RandomSearch


@pytest.mark.parametrize("target", ["no_such_module_here:X", "paretoprune.search.random:Missing"])
def test_a_broken_plug_in_is_named(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, EntryPoint("theirs", target, "paretoprune.strategies"))
    with pytest.raises(ParetopruneError, match="plug-in 'theirs' from a plug-in is broken: "):
        strategies().load("theirs")


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
