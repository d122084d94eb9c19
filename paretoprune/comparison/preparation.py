"""From a study file to a comparison's arguments: names checked, defaults chosen, paths found.

Every mistake that can be seen without loading a model is found here, before anything is paid for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from paretoprune.comparison.configuration import (
    COMPRESSION,
    DEFAULT_OBJECTIVES,
    RISKY,
    TOKENS,
    StudyFile,
)
from paretoprune.comparison.sweep import Case
from paretoprune.core.options import is_location
from paretoprune.errors import InvalidValueError, UnsupportedError

if TYPE_CHECKING:
    from paretoprune.comparison.results import Summary
    from paretoprune.compression.workers import Placement
    from paretoprune.core.problem import Problem

PASSED_ON = (
    "search_size", "heldout_size", "data_seed", "levels", "objectives", "batch", "dtype", "device",
    "attn", "trust_remote_code",
)  # fmt: skip
"""Settings that a problem is loaded with as they are."""
OPTIONAL = ("per_picture", "compress", "objectives")
"""Settings that are left to the problem where they are not said."""
LOADING = ("model", "task", "data", "pruner", "search_knobs", *OPTIONAL[:2], *PASSED_ON)
"""Arguments that a compression problem is loaded with."""
OF_TOKENS = ("pruner", "pruner_knobs", "per_picture", "levels")
"""Settings of the technique `tokens`."""


def prepared(cases: Sequence[Case]) -> list[Case]:
    """The cases with their strategies written out; raises the first mistake in any of them."""
    cases = [Case(case.folder, _with_strategies(case.study)) for case in cases]
    for case in cases:
        _check_names(case.study)
    if len(cases) > 1:
        _check_models(cases)
    return cases


def completed(study: StudyFile, problem: Problem) -> StudyFile:
    """The study with settings from the loaded problem: its strategies and its task."""
    from paretoprune.search.specs import fitting_strategies
    from paretoprune.zoo.catalogue import default_task

    if not study.strategy:
        study = study.changed({"strategy": list(fitting_strategies(problem))})
    if study.tokens_alone and not study.task:
        study = study.changed({"task": default_task(study.model[0])})
    return study


def loading_of(study: StudyFile) -> dict[str, Any]:
    """Arguments of `load_named_problem` for a study of one model, task and pruner."""
    from paretoprune.compression.named import options_for

    presets = presets_of(study)
    given = {
        "model": study.model[0],
        "task": study.task[0] if study.task else None,
        "data": study.data[0] if study.data else None,
        "pruner": study.pruner[0],
        "search_knobs": study.pruner_knobs,
        **{key: getattr(study, key) for key in PASSED_ON},
        **({"per_picture": True} if study.per_picture else {}),
        **({"presets": presets} if presets else {}),
    }
    if not study.tokens_alone:
        given["compress"] = study.compress
        if study.objectives == DEFAULT_OBJECTIVES:
            del given["objectives"]
    return options_for(study.problem, given)


def stored_loading(loading: dict[str, Any]) -> dict[str, Any]:
    """Loading arguments of a problem, as a summary stores them: `batch` there is the search's."""
    return {"decoder_batch" if key == "batch" else key: value for key, value in loading.items()}


def loading_again(summary: Summary, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The problem's name in a results folder, and its loading arguments.

    Raises `InvalidValueError` where that would run code that the `given` options do not repeat.
    """
    known = dict(summary.settings)
    if "problem" not in known:
        raise UnsupportedError(
            "the results were written from Python and do not say how to load their problem; "
            "evaluate the reference there"
        )
    risky = {key: known[key] for key in RISKY if key in known}
    StudyFile().changed(risky).confirm(given)
    if known["problem"] != COMPRESSION:
        return str(known["problem"]), {}
    names = {key: "decoder_batch" if key == "batch" else key for key in LOADING}
    return COMPRESSION, {
        key: known[name] for key, name in names.items() if key not in OPTIONAL or name in known
    }


def _what(study: StudyFile) -> str:
    if study.problem != COMPRESSION:
        return f"--problem {study.problem}"
    return f"--compress {study.compress}"


def presets_of(study: StudyFile) -> list[str]:
    """Names of the presets to compare the front with; raises for an unknown one."""
    from paretoprune.schedules.presets import find_presets

    wanted = list(study.preset) or (["all"] if study.with_presets else [])
    if wanted and not study.tokens_alone:
        raise InvalidValueError(
            f"presets are of --compress tokens; there are none for {_what(study)}"
        )
    return [preset.name for preset in find_presets(wanted)] if wanted else []


def executor_of(study: StudyFile) -> AbstractContextManager[Placement | None]:
    """Where the study's evaluations run; None for this process."""
    if study.executor == "in-process":
        return nullcontext()
    from paretoprune.compression.workers import RayPlacement

    return RayPlacement(study.workers, study.cluster)


def check_places(study: StudyFile) -> None:
    """Raise an error for a wrong storage address or wrong executor options."""
    if study.storage is not None:
        from paretoprune.comparison.log.place import parse_storage

        parse_storage(study.storage)
    if study.executor == "in-process":
        for name in ("workers", "cluster"):
            if getattr(study, name) is not None:
                raise InvalidValueError(f"--{name} goes with --executor ray, not with in-process")
    elif not study.tokens_alone:
        raise InvalidValueError(
            f"--executor ray evaluates --compress tokens; {_what(study)} runs in-process"
        )


def _with_strategies(study: StudyFile) -> StudyFile:
    """The study with its strategies written out, unless the problem has to be loaded for that."""
    if study.strategy or not study.tokens_alone:
        return study
    from paretoprune.compression.objectives import parse_objectives
    from paretoprune.search.specs import default_strategies

    costs = parse_objectives(study.objectives)[1:]
    named = default_strategies(costs, gradient=_is_relaxable(study))
    return study.changed({"strategy": list(named)})


def _is_relaxable(study: StudyFile) -> bool:
    """Whether gradient strategies can search it: a single pruner that is top-k of a score."""
    if study.pruner == ("fastv",):
        return True  # the default is known without loading torch
    from paretoprune.pruning.operators import Operators

    only = Operators.of(study.pruner[0], search_knobs=study.pruner_knobs).only
    return only is not None and only.relaxable


def _check_names(study: StudyFile) -> None:
    """Raise for an unknown name, or an option that a strategy does not take."""
    from paretoprune.comparison.reference import parse_reference
    from paretoprune.compression.objectives import parse_objectives
    from paretoprune.registry import problems, tasks, techniques

    for spec in study.specs():
        spec.build()  # a misspelt option shows before models load
    check_places(study)
    if not is_location(study.problem):
        problems.entry(study.problem)
    for name in study.compress.split(","):
        techniques.entry(name.strip())
    if study.tokens_alone:  # others have data and objectives of their own
        for task in study.task:
            tasks.entry(task.partition(":")[0])
        parse_objectives(study.objectives)
    _check_settings_of_tokens(study)
    presets_of(study)
    if study.reference is not None:
        parse_reference(study.reference)


def _check_settings_of_tokens(study: StudyFile) -> None:
    """Raise for a setting of visual tokens, not at its default, that `compress` leaves unused.

    Other problems have no model, and take no notice of any of its settings.
    """
    techniques = [name.strip() for name in study.compress.split(",")]
    if study.problem != COMPRESSION or TOKENS in techniques:
        return
    for name in OF_TOKENS:
        if getattr(study, name) != StudyFile.model_fields[name].default:
            raise InvalidValueError(
                f"--{name.replace('_', '-')} is of --compress tokens; {_what(study)} searches none"
            )


def _check_models(cases: Sequence[Case]) -> None:
    """Raise for a model or pruner that does not exist, before the first of several cases runs."""
    from paretoprune.pruning.operators import Operators
    from paretoprune.zoo.load import find_checkpoint

    for case in cases:
        find_checkpoint(case.study.model[0])
        Operators.of(case.study.pruner[0], search_knobs=case.study.pruner_knobs)
