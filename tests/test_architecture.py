"""The dependency rule of the design: who may import what."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

GRAPH = grimp.build_graph(
    "paretoprune", include_external_packages=True, exclude_type_checking_imports=True
)
ALLOWED_ADAPTERS = {
    f"paretoprune.adapters.{name}"
    for name in (
        "base", "extras", "model_access", "prompts", "refusals", "token_geometry", "views",
        "vision_encoder",
    )
}  # fmt: skip
"""They name no family."""
FAMILIES = [f"paretoprune.adapters.{name}" for name in ("internvl", "llava", "qwen2_5_vl")]
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"
ROOMS = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
"""Packages and loose modules, from the ground up: the table of the architecture page."""
CORE = ("core", "frontier")


def room(module):
    """Package or loose module of the package that a module belongs to."""
    return [*module.split("."), "__init__"][1]


def test_the_table_of_the_architecture_page_names_every_room():
    found = {room(m) for m in GRAPH.find_children("paretoprune")}
    assert sorted(ROOMS) == sorted({*found, "__init__"})
    packages = [name for name in found if GRAPH.find_children(f"paretoprune.{name}")]
    assert len(packages) == 17


def test_paths_on_the_architecture_page_exist():
    root = PAGE.parents[2]
    paths = re.findall(r"`((?:paretoprune|tests)/[\w./]*)`", PAGE.read_text("utf-8"))
    assert len(paths) > 15
    assert [path for path in paths if not (root / path).exists()] == []


def test_each_package_imports_only_from_those_above_it():
    for module in GRAPH.modules:
        if not module.startswith("paretoprune."):
            continue
        for used in GRAPH.find_modules_directly_imported_by(module):
            if used.startswith("paretoprune.") and room(used) != "__init__":
                assert ROOMS.index(room(used)) <= ROOMS.index(room(module)), (module, used)


def test_no_two_modules_import_each_other_but_for_types():
    """A walk along the imports meets no module that it is on its way from."""
    found, on_path, done = [], [], set()

    def visit(module):
        if module in on_path:
            found.append([*on_path[on_path.index(module) :], module])
        elif module not in done:
            on_path.append(module)
            for used in sorted(GRAPH.find_modules_directly_imported_by(module)):
                if used.startswith("paretoprune"):
                    visit(used)
            done.add(on_path.pop())

    for module in sorted(GRAPH.modules):
        if module.startswith("paretoprune"):
            visit(module)
    assert found == []


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_nothing_of_models(module):
    name = f"paretoprune.{module}"
    for part in {name} | GRAPH.find_descendants(name):
        assert not GRAPH.find_modules_directly_imported_by(part) & {"torch", "transformers"}, part


def test_the_core_names_nothing_above_it_even_in_types():
    for file in (Path(__file__).parents[1] / "paretoprune" / "core").glob("*.py"):
        used = set(re.findall(r"from paretoprune\.(\w+)", file.read_text("utf-8")))
        assert used <= {"core", "errors", "files"}, file.name


def test_pruning_knows_adapters_only_through_their_base():
    for part in GRAPH.find_descendants("paretoprune.pruning"):
        for used in GRAPH.find_modules_directly_imported_by(part):
            if used.startswith("paretoprune.adapters"):
                assert used in ALLOWED_ADAPTERS, part


def test_a_family_is_asked_for_at_most_twelve_methods():
    """What the tutorial counts; everything else is a function that takes an adapter."""
    from paretoprune.adapters.base import Adapter

    methods = [name for name in vars(Adapter) if not name.startswith("_")]
    methods = [name for name in methods if callable(getattr(Adapter, name))]
    assert len(methods) <= 12
    table = (PAGE.parents[1] / "tutorials" / "plug-in-a-vlm.md").read_text("utf-8")
    assert all(f"`{name}" in table for name in methods)
    for family in FAMILIES:
        module = importlib.import_module(family)
        own = next(c for c in vars(module).values() if getattr(c, "__module__", "") == family)
        overridden = [name for name in methods if name in vars(own)]
        assert f"| `{own.family}`" in table
        row = next(line for line in table.splitlines() if line.startswith(f"| `{own.family}`"))
        assert f"| {len(overridden)} |" in row, (overridden, row)


def test_only_the_command_line_imports_experiments():
    for module in GRAPH.modules:
        for used in GRAPH.find_modules_directly_imported_by(module):
            if used.startswith("paretoprune.experiments"):
                assert room(module) in ("experiments", "cli"), module


def test_no_model_family_is_named_outside_adapters_and_zoo():
    allowed = ("paretoprune.adapters", "paretoprune.zoo", "paretoprune.testing")
    for module in GRAPH.modules:
        if not module.startswith("paretoprune.") or module.startswith(allowed):
            continue
        for used in GRAPH.find_modules_directly_imported_by(module):
            assert used not in FAMILIES, module


@pytest.mark.parametrize("name", ["paretoprune", "paretoprune.cli", "paretoprune.core.study"])
def test_importing_pulls_in_no_torch(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_public_names_exist():
    import paretoprune

    for name in paretoprune.__all__:
        assert getattr(paretoprune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = paretoprune.nothing
