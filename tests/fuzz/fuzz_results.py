"""Results folders of strangers: every file of one, read and used as the commands do."""

from __future__ import annotations

import contextlib
import io
import random
from functools import cache

from target import Target, a_folder


@cache
def _summary_text() -> str:
    from paretoprune.comparison.compare import compare
    from paretoprune.compression.analytic import ZDT1

    found = compare(ZDT1(), ["random", "tpe"], budget=12, seeds=[0, 1]).summary
    names = [o.name for o in found.objectives]
    keep = [1.0, 0.5, 0.25, 0.0]
    front = [
        point.model_copy(
            update={"keep": keep, "pruner": "fastv", "heldout": dict.fromkeys(names, 0.4)}
        )
        for point in found.front
    ]
    return found.model_copy(update={"front": front}).model_dump_json()


def _seeds() -> dict[str, str]:
    from paretoprune.comparison.sweep import CaseRecord, Matrix

    case = CaseRecord(folder="mini-llava", model="mini-llava", task=None, pruner="fastv")
    failed = case.model_copy(update={"folder": "other", "failure": "no such model"})
    return {
        "comparison.json": _summary_text(),
        "matrix.json": Matrix(cases=[case, failed]).model_dump_json(),
    }


def _run(name: str, content: bytes) -> None:
    from rich.console import Console

    from paretoprune.comparison.gradients import read_gradients
    from paretoprune.comparison.results import read_summary, write_results
    from paretoprune.comparison.selection import Bound, pick, write_pick
    from paretoprune.comparison.sweep import read_matrix, read_summaries
    from paretoprune.compression.kept import read_examples
    from paretoprune.errors import ParetopruneError
    from paretoprune.report import write_report
    from paretoprune.report.ranking import ranking_markdown
    from paretoprune.report.terminal import print_summary

    with a_folder() as folder:
        (folder / name).write_bytes(content)
        read_examples(folder)
        read_gradients(folder)
        if read_matrix(folder) is not None:
            assert not read_summaries(folder)
            return
        summary = read_summary(folder)
        print_summary(Console(file=io.StringIO(), width=80), summary)
        ranking_markdown(summary)
        for bounds in ([], [Bound("max", summary.objectives[-1].name, 0.5)]):
            with contextlib.suppress(ParetopruneError):  # nothing within the bounds
                write_pick(folder / "pick.json", summary, pick(summary, bounds))
        again = folder / "again"
        write_results(again, summary)
        assert read_summary(again) == summary
        if random.Random(content).random() < 0.02:  # drawing takes a second
            write_report(folder, summary, None, None)


TARGET = Target(_seeds, _run)
