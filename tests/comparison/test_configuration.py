"""Study files: what is read, what is refused, and that they say the same as the flags."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from paretoprune import compare
from paretoprune.comparison.configuration import StudyFile, read_study, write_study
from paretoprune.comparison.preparation import loading_again
from paretoprune.comparison.settings import commented_study, settings
from paretoprune.comparison.sweep import cases_of
from paretoprune.compression.analytic import ZDT1
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.search.specs import DEFAULT_STRATEGIES, StrategySpec


def read(folder: Path, text: str) -> StudyFile:
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return read_study(file)


def test_a_commented_file_holds_the_defaults_and_every_setting(tmp_path: Path) -> None:
    text = commented_study()
    assert read(tmp_path, text).model_dump() == StudyFile().model_dump()
    for name in StudyFile.model_fields:
        assert f"\n{name} = " in text or f"\n# {name} = " in text, name
    assert max(map(len, text.splitlines())) <= 100


def test_what_is_in_comments_is_valid_too(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("# ")
        for line in commented_study().splitlines()
        if line.removeprefix("# ").partition(" = ")[0] in StudyFile.model_fields
    ]
    study = read(tmp_path, "\n".join(lines))
    assert study.strategy == DEFAULT_STRATEGIES
    assert {s.name for s in settings().values() if s.example} <= study.model_fields_set
    assert study.out == str(tmp_path / "results")


def test_strategies_are_names_specs_or_tables(tmp_path: Path) -> None:
    study = read(
        tmp_path,
        """
        strategy = [
            "random", "grid:space=single-step",
            {name = "nsga2", population = 8}, {name = "gradient", rate = 0.5, gumbel = true},
        ]
        """,
    )
    assert study.strategy[2:] == ("nsga2:population=8", "gradient:rate=0.5,gumbel=true")
    assert study.specs()[2] == StrategySpec("nsga2", None, (("population", 8),))
    assert study.specs()[3].options == (("gumbel", True), ("rate", 0.5))
    assert read(tmp_path, 'strategy = "tpe"').strategy == ("tpe",)


def test_seeds_are_a_number_or_a_list(tmp_path: Path) -> None:
    assert read(tmp_path, "seeds = 3").seed_list == (0, 1, 2)
    assert read(tmp_path, "seeds = [4, 7]").seed_list == (4, 7)


def test_combinations_are_cases_with_folders_of_their_own(tmp_path: Path) -> None:
    study = read(
        tmp_path,
        'model = ["mini-llava", "./a/../b"]\npruner = ["fastv", "fastv,dart", "dart:x=1"]',
    )
    cases = cases_of(study)
    assert len(cases) == 6
    assert len({c.folder for c in cases}) == 6
    for case in cases:
        assert Path(case.folder).name == case.folder
        assert ".." not in case.folder
        assert (len(case.study.model), len(case.study.pruner)) == (1, 1)
    assert cases[0].folder == "mini-llava_fastv"
    assert [c.folder for c in cases_of(read(tmp_path, 'pruner = "dart"'))] == [""]
    # names that end up alike, and on disks that do not know capitals
    folders = [c.folder for c in cases_of(read(tmp_path, 'model = ["a/b", "A-B", "a b", "..."]'))]
    assert folders == ["a-b", "A-B-2", "a-b-3", "case"]


def test_other_problems_have_one_case() -> None:
    study = StudyFile().changed({"problem": "zdt1", "pruner": ["fastv", "dart"]})
    assert [c.folder for c in cases_of(study)] == [""]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    study = StudyFile().changed(
        {"strategy": ["tpe"], "seeds": [3], "budget": 2.5, "levels": 9, "pruner": ["a", "b"]}
    )
    write_study(tmp_path / "study.toml", study)
    assert read_study(tmp_path / "study.toml").model_dump() == study.model_dump()
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budgt = 3", "unknown setting 'budgt'; known: attn, .* Did you mean 'budget'?"),
        ("[budget]\nx = 1", "budget must be a valid number, got {'x': 1}"),
        ("budget = 0", "budget must be more than 0 dense passes, got 0"),
        ("budget = inf", "budget must be a finite number, got inf"),
        ("budget = '3'", "budget must be a valid number, got '3'"),
        ("seeds = 0", "seeds must be greater than or equal to 1, got 0"),
        ("seeds = 1000000000", "seeds must be less than or equal to 10000, got 1000000000"),
        ("seeds = [1, -1]", "seeds must be greater than or equal to 0, got -1"),
        ("seeds = true", "seeds must be a valid integer, got True"),
        ("search_size = 1", "search_size must be greater than or equal to 2, got 1"),
        ("model = []", "model must have a value, got an empty list"),
        ("model = [3]", "model must be a valid string, got 3"),
        ("strategy = [{startup = 3}]", 'a strategy is written as "tpe" or {name'),
        ("strategy = [{name = 'tpe', x = 'a,b'}]", "option 'x' of strategy 'tpe' must be"),
        ("strategy = [{name = 'tpe', x = []}]", "option 'x' of strategy 'tpe' must be"),
        ("levels = 1.5", "levels must be a valid integer"),
        ("out = '/tmp/elsewhere'", "out must be a folder next to the file, got '/tmp/elsewhere'"),
        ("out = 'a/../../b'", "out must be a folder next to the file"),
        ("budget = ", "is not TOML: Invalid value"),
        ("a = [[[" + "[" * 5000, "is not TOML"),
        ("budget = 1" + "0" * 5000, "is not TOML"),
        ("budget = 3\nbudget = 4", "is not TOML: Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenFileError, match=message.replace("{", r"\{").replace("?", r"\?")) as e:
        read(tmp_path, text)
    assert "study.toml" in str(e.value)
    assert "\n" not in str(e.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    with pytest.raises(BrokenFileError, match="cannot read study file .*No such file"):
        read_study(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenFileError, match="is not UTF-8 text"):
        read_study(file)
    file.write_bytes(b"#" * 1_000_001)
    with pytest.raises(BrokenFileError, match="is larger than 1,000,000 bytes"):
        read_study(file)
    with pytest.raises(BrokenFileError, match="is a folder"):
        read_study(tmp_path)


def test_flags_are_named_as_flags() -> None:
    with pytest.raises(InvalidValueError, match="--budget must be more than 0 dense passes"):
        StudyFile().changed({"budget": -1.0})
    with pytest.raises(UnknownNameError, match="Did you mean 'search_size'"):
        StudyFile().changed({"search_sizes": 1})


def test_a_case_named_twice_is_refused() -> None:
    study = StudyFile().changed({"pruner": ["fastv", "dart", "fastv"]})
    with pytest.raises(InvalidValueError, match="pruner 'fastv' is named twice"):
        cases_of(study)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("trust_remote_code = true", "--trust-remote-code"),
        ('problem = "evil.py:Problem"', "--problem evil.py:Problem"),
        ('problem = "evil.py"', "--problem evil.py"),
        ('problem = "evil:Problem"', "--problem evil:Problem"),
        ('track = "tensorboard:/home"', "--track tensorboard:/home"),
    ],
)
def test_a_file_alone_cannot_run_code(text: str, flag: str, tmp_path: Path) -> None:
    study = read(tmp_path, text)
    with pytest.raises(InvalidValueError, match=f"say so on the command line, too: {flag}$"):
        study.confirm({"model": ["mini-llava"], "out": "x"})
    other = {"trust_remote_code": True, "problem": "mine.py:P", "track": ["tensorboard:mine"]}
    if "trust" not in text:
        with pytest.raises(InvalidValueError, match=flag):
            study.confirm(other)
    study.confirm(other | {"problem": study.problem, "track": study.track})
    StudyFile().confirm({})


def test_the_file_is_toml_of_plain_values(tmp_path: Path) -> None:
    values = tomllib.loads(commented_study())
    assert set(values) <= set(StudyFile.model_fields)
    write_study(tmp_path / "x.toml", StudyFile())
    assert "out" not in tomllib.loads((tmp_path / "x.toml").read_text())


@pytest.mark.parametrize(
    "settings",
    [
        {"problem": "evil.py:Problem"},
        {"problem": "compression", "pruner": "fastv,evil.py:Pruner"},
        {"problem": "compression", "trust_remote_code": True},
    ],
)
def test_results_alone_cannot_run_code(settings: dict[str, Any]) -> None:
    """A results folder may come from a stranger, too."""
    summary = compare(ZDT1(), "random", budget=2, seeds=1, settings=settings).summary
    key = list(settings)[-1]
    with pytest.raises(InvalidValueError, match=f"too: --{key.replace('_', '-')}"):
        loading_again(summary, {})
    with pytest.raises(InvalidValueError, match="say so on the command line"):
        loading_again(summary, {key: False if key.startswith("trust") else "other"})
    if key == "problem":
        assert loading_again(summary, settings) == ("evil.py:Problem", {})
    nothing = compare(ZDT1(), "random", budget=2, seeds=1).summary
    with pytest.raises(UnsupportedError, match="written from Python"):
        loading_again(nothing, {})
