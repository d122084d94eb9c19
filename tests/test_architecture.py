"""The dependency rule of the design: who may import what."""

import subprocess
import sys

import grimp
import pytest

GRAPH = grimp.build_graph("paretoprune", include_external_packages=True)
HEAVY = ("torch", "transformers")
ALLOWED_ADAPTERS = {
    f"paretoprune.adapters.{name}" for name in ("base", "cache_argument", "extras", "grid", "views")
}
"""They name no family."""
CORE = ("space", "problem", "study", "search.base", "search.relaxation", "frontier")


def reaches(start: str, targets: tuple[str, ...]) -> list[str]:
    """External packages that importing `start` pulls in, following package-level imports."""
    seen = GRAPH.find_upstream_modules(start)
    return sorted(t for t in targets if t in seen)


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_nothing_of_models(module):
    name = f"paretoprune.{module}"
    modules = {name} | GRAPH.find_descendants(name)
    for part in modules:
        direct = GRAPH.find_modules_directly_imported_by(part)
        assert not direct & {"torch", "transformers"} or part.endswith("relaxation"), part
        rooms = {m.split(".")[1] for m in direct if m.startswith("paretoprune.")}
        assert not rooms & {"pruning", "adapters", "problems", "tasks", "zoo", "cli", "report"}


def test_pruning_knows_adapters_only_through_their_base():
    for part in GRAPH.find_descendants("paretoprune.pruning"):
        for used in GRAPH.find_modules_directly_imported_by(part):
            if used.startswith("paretoprune.adapters"):
                assert used in ALLOWED_ADAPTERS, part
            assert not used.startswith(("paretoprune.problems", "paretoprune.tasks"))


CONSUMERS = ("paretoprune.cli", "paretoprune.reproduce")
"""Rooms whose product is what a reader sees: they draw, and nothing else imports them."""


def test_nothing_imports_the_command_line_or_the_report():
    for module in GRAPH.modules:
        if not module.startswith("paretoprune.") or module.startswith(CONSUMERS):
            continue
        for used in GRAPH.find_modules_directly_imported_by(module):
            assert not used.startswith(CONSUMERS), module
            if used.startswith("paretoprune.report"):
                assert module.startswith("paretoprune.report"), module


def test_no_model_family_is_named_outside_adapters_and_zoo():
    allowed = ("paretoprune.adapters", "paretoprune.zoo", "paretoprune.testing")
    for module in GRAPH.modules:
        if not module.startswith("paretoprune.") or module.startswith(allowed):
            continue
        for used in GRAPH.find_modules_directly_imported_by(module):
            assert used not in ("paretoprune.adapters.llava",), module


@pytest.mark.parametrize("name", ["paretoprune", "paretoprune.cli", "paretoprune.study"])
def test_importing_pulls_in_no_torch(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_public_names_exist():
    import paretoprune

    for name in paretoprune.__all__:
        assert getattr(paretoprune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = paretoprune.nothing
