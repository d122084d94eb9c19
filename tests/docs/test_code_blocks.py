"""The documentation's code runs, names everything that is registered, and is up to date."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from _pytest.mark import ParameterSet

from paretoprune import registry

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LANGUAGES = {"python", "console", "text", "toml", "json"}
"""Languages of blocks; others would be commands that nothing runs."""


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


outputs = _script("make_outputs")
PAGES = outputs.pages()
RUNNABLE = [
    page
    for page in PAGES
    if any(
        block.language in ("python", "console") and not block.skipped
        for block in outputs.blocks(page.read_text(encoding="utf-8"))
    )
]


LONG = {
    "howto/compare-with-presets.md",
    "howto/pick-a-configuration.md",
    "howto/resume.md",
    "howto/write-a-study-file.md",
    "quickstart.md",
    "tutorials/compare-strategies-fairly.md",
    "tutorials/compress-something-else.md",
    "tutorials/search-with-gradients.md",
    "tutorials/write-a-strategy.md",
    "tutorials/your-first-front.md",
}
"""Pages that search for several seconds: `.ci/run` runs them by themselves."""


def _timed(page: Path) -> ParameterSet:
    is_long = page.is_relative_to(DOCS) and page.relative_to(DOCS).as_posix() in LONG
    return pytest.param(page, marks=[pytest.mark.slow] if is_long else [])


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def _no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test works in an empty folder, and the names it registers are forgotten."""
    monkeypatch.chdir(tmp_path)
    with outputs.registries_restored():
        yield


@pytest.mark.parametrize("page", [_timed(page) for page in RUNNABLE], ids=_name)
def test_blocks_of_a_page_run(page: Path) -> None:
    outputs.run_page(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in outputs.blocks(page.read_text(encoding="utf-8")):
        where = f"{_name(page)}, line {block.start}"
        assert block.language in LANGUAGES, f"{where}: language {block.language!r}"
        assert block.comment("not run") != "", f"{where}: say why it is not run"
        commands = [line for line in block.lines if line.startswith("$ ")]
        if block.language == "python" and not block.skipped:
            assert block.title.endswith(".py"), f'{where}: python code without title="NAME.py"'
        if block.language == "console":
            assert commands, f"{where}: a console block without a command"
            runnable = all(c.startswith("$ paretoprune ") for c in commands)
            assert runnable or block.skipped, f"{where}: not a paretoprune command"
        else:
            assert not commands, f"{where}: a command outside of a console block"


def test_every_page_is_in_the_navigation() -> None:
    """So that `mkdocs build --strict` checks the links of all of them."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in navigation


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent == ROOT], ids=_name)
def test_links_outside_the_site_exist(page: Path) -> None:
    """Links of README.md and CONTRIBUTING.md, which mkdocs does not see."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("kind", registry.ALL, ids=lambda r: r.kind)
def test_every_registered_name_is_documented(kind: registry.Registry) -> None:
    names = (DOCS / "reference" / "names.md").read_text(encoding="utf-8")
    for entry in kind:
        if entry.origin == "built in":
            assert f"| `{entry.name}` |" in names, f"{kind.kind} {entry.name}"


def test_the_tables_of_names_are_up_to_date() -> None:
    """If this fails, run `python docs/make_names.py`."""
    written = (DOCS / "reference" / "names.md").read_text(encoding="utf-8")
    script = _script("make_names")
    assert written == script.page(written)
    assert script.missing(written) == ["techniques", "presets"]  # tables by hand: more columns


def test_every_option_of_a_strategy_is_documented() -> None:
    from paretoprune.search.gradient.adaptive import AdaptiveOptions, AdaptiveSearch
    from paretoprune.search.gradient.lagrangian import LagrangianOptions, LagrangianSearch
    from paretoprune.search.gradient.vispco import Vispco, VispcoOptions

    records = {
        LagrangianSearch: LagrangianOptions,
        AdaptiveSearch: AdaptiveOptions,
        Vispco: VispcoOptions,
    }
    names = (DOCS / "reference" / "names.md").read_text(encoding="utf-8")
    for entry in registry.strategies:
        if entry.origin != "built in":
            continue
        factory = entry.load()
        if factory in records:
            for option in fields(records[factory]):
                assert f"`{option.name}`" in names, f"{entry.name}: {option.name}"
            continue
        for option in inspect.signature(factory).parameters.values():
            if option.kind is not option.VAR_POSITIONAL and option.kind is not option.VAR_KEYWORD:
                assert f"`{option.name}`" in names, f"{entry.name}: {option.name}"


def test_the_command_reference_is_up_to_date() -> None:
    """If this fails, run `python docs/make_cli.py`."""
    script = _script("make_cli")
    assert script.FILE.read_text(encoding="utf-8") == script.page()
    assert script.STUDY_FILE.read_text(encoding="utf-8") == script.study_page()


def test_the_example_pictures_are_those_of_the_task() -> None:
    """If this fails, run `python docs/make_images.py` and change docs/minivqa.md."""
    images = _script("make_images")
    page = (DOCS / "minivqa.md").read_text(encoding="utf-8")
    for sample in images.examples():
        assert f"`{sample.prompt}` → **{sample.answer}**" in page
        assert (images.FOLDER / f"{sample.family}.png").exists()


def test_the_picture_of_kept_tokens_is_of_the_command_beside_it() -> None:
    """If this fails, run `python docs/make_kept.py` and change the page."""
    page = (DOCS / "howto" / "see-what-a-schedule-keeps.md").read_text(encoding="utf-8")
    script = _script("make_kept")
    assert f"$ paretoprune {' '.join(script.WORDS)}\n" in page
    assert script.FILE.exists()


def test_the_table_of_joint_searches_is_of_its_figures() -> None:
    """If this fails, run `python docs/make_joint.py`."""
    script = _script("make_joint")
    assert (DOCS / "images" / "joint-table.txt").read_text(encoding="utf-8") == script.table()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in RUNNABLE if outputs.files(p.read_text("utf-8"))], ids=_name
)
def test_each_file_of_a_page_runs_by_itself(page: Path) -> None:
    """Saved as the page says, in its order, each in a process of its own; tests under pytest."""
    text = page.read_text(encoding="utf-8")
    files, found = outputs.files(text), outputs.blocks(text)
    for name, content in files.items():
        Path(name).write_text(content, encoding="utf-8")
    last = {block.title: number for number, block in enumerate(found)}
    for number, block in enumerate(found):
        if block.skipped:
            continue
        if block.language == "console":
            outputs.run_console(block)
        elif block.language == "python" and last[block.title] == number:
            words = ["-m", "pytest", "-q"] if block.title.startswith("test_") else []
            run = subprocess.run(
                [sys.executable, *words, block.title], capture_output=True, text=True, check=False
            )
            assert run.returncode == 0, f"{block.title}\n{run.stdout}{run.stderr}"


TINY = ["--search-size", "16", "--heldout-size", "16", "--budget", "3", "--seeds", "1"]
EXAMPLES = {
    "compare_strategies": ["random", "gradient", *TINY],
    "custom_strategy": TINY,
    "evaluate_schedule": ["--size", "16", "--out", "mine.json"],
}


def test_all_examples_are_tested() -> None:
    assert set(EXAMPLES) == {file.stem for file in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(file), *EXAMPLES[name]])
    _run_as_script(file)
    assert capsys.readouterr().out.strip()


def _run_as_script(file: Path) -> None:
    """Run a file as `__main__`, and let `__main__:Name` be found, as the registry needs."""
    spec = importlib.util.spec_from_file_location("__main__", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules["__main__"] = before


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = "$ pip install -c constraints.txt . && paretoprune compare\n"
    second = '$ pip install -c constraints.txt ".[test]" && pytest\n'
    assert first in text
    assert second in text
    ci = ROOT / ".ci" / "run"
    assert second.removeprefix("$ ").strip() in ci.read_text(encoding="utf-8")
    assert os.access(ci, os.X_OK)
