"""What reads a stranger's files, each as one function of bytes: it works, or says one sentence.

A target gets the content of one file. It may raise `ParetopruneError`, whose message is one line;
any other exception is a bug, and so is a half-written file or one outside its folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import fuzz_configs
import fuzz_results
import fuzz_rows
from target import Target, a_folder

CORPUS = Path(__file__).parent / "corpus"


# --- schedules and policies


def _schedule(name: str, content: bytes) -> None:
    from paretoprune.pruning.policies.files import read_policy, write_policy
    from paretoprune.schedules.files import ScheduleFile, read_schedule, write_schedule

    with a_folder() as folder:
        file = folder / "schedule.json"
        file.write_bytes(content)
        saved = read_policy(file)
        if isinstance(saved.about, ScheduleFile):
            again = folder / "again.json"
            write_schedule(again, saved.about)
            assert read_schedule(again) == saved.about
        else:
            write_policy(folder / "again.json", saved.policy, pruner=saved.about.pruner)


def _schedule_seeds() -> dict[str, str]:
    from paretoprune.pruning.policies.base import Policy
    from paretoprune.pruning.policies.files import write_policy
    from paretoprune.pruning.policies.static import Static
    from paretoprune.schedules.schedule import KeepSchedule

    policy: Policy = Static(KeepSchedule.from_ratios([1.0, 1.0, 0.5, 0.25]))
    with a_folder() as folder:
        write_policy(folder / "policy.json", policy, pruner="fastv")
        text = (folder / "policy.json").read_text()
    plain = {
        "format": "paretoprune-schedule/1", "pruner": "dart", "pruner_settings": {"text_pivots": 2},
        "keep": [1.0, 1.0, 0.5, 0.5], "model": "mini-llava", "found_by": "tpe seed 0",
        "score": 0.9, "compute": 0.5,
    }  # fmt: skip
    return {"schedule.json": json.dumps(plain), "policy.json": text}


# --- study files


def _study(name: str, content: bytes) -> None:
    from paretoprune.comparison.configuration import read_study, write_study
    from paretoprune.comparison.sweep import cases_of

    with a_folder() as folder:
        file = folder / "study.toml"
        file.write_bytes(content)
        study = read_study(file)
        study.confirm({})
        for case in cases_of(study):
            assert Path(case.folder).name == case.folder
        if study.out is not None:
            assert Path(study.out).resolve().is_relative_to(folder.resolve())
        again = folder / "again.toml"
        write_study(again, study)
        assert read_study(again).model_dump(exclude={"out"}) == study.model_dump(exclude={"out"})
        study.specs()


def _study_seeds() -> dict[str, str]:
    from paretoprune.comparison.settings import commented_study

    whole = commented_study()
    few = 'strategy = ["random", {name = "nsga2", population = 8}]\nseeds = [0, 3]\nbudget = 2.5\n'
    few += 'model = ["mini-llava", "mini-internvl"]\npruner = ["fastv", "dart:text_pivots=2"]\n'
    return {"all.toml": whole, "few.toml": few + 'task = "minivqa"\nout = "results"\n'}


TARGETS = {
    "schedule": Target(_schedule_seeds, _schedule),
    "study": Target(_study_seeds, _study),
    "rows": fuzz_rows.TARGET,
    "configs": fuzz_configs.TARGET,
    "results": fuzz_results.TARGET,
}
