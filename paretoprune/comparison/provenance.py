"""Provenance of a study: versions, hardware, seeds, data. Written as the study starts."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from paretoprune.comparison.configuration import STUDY_NAME, StudyFile, write_study
from paretoprune.comparison.results import FrontPoint, Summary
from paretoprune.core.capabilities import HasFingerprints
from paretoprune.core.problem import Problem
from paretoprune.core.registries import announced
from paretoprune.errors import InvalidValueError
from paretoprune.files import StoredModel, read_stored, write_stored

PROVENANCE_NAME = "provenance.json"
PACKAGES = (
    "paretoprune", "torch", "transformers", "tokenizers", "optuna", "pymoo", "moocore",
    "scikit-learn", "scipy", "numpy", "pillow",
)  # fmt: skip
"""Packages whose version can change a result."""
MEASURED = ("latency_ms", "peak_memory_bytes")
"""Costs that come from measurements: no two runs find exactly the same."""


class Provenance(StoredModel):
    """The versions, hardware and data that a rerun needs for equal results.

    `versions` and `plugins` by package; `hardware` by part; `data` are SHA-256 of splits and
    weights, by name.
    """

    format: Literal["paretoprune-provenance/1"] = "paretoprune-provenance/1"
    created: str
    versions: dict[str, str]
    plugins: dict[str, str]
    hardware: dict[str, str]
    seeds: list[int]
    data: dict[str, str]

    def changes(self, later: Provenance) -> Iterator[str]:
        """Differences of a later run: `torch 2.12.0 -> 2.13.0`, one sentence each."""
        for kind in ("versions", "plugins", "hardware", "data"):
            before, after = getattr(self, kind), getattr(later, kind)
            for name in sorted(before.keys() | after.keys()):
                old, new = before.get(name, "none"), after.get(name, "none")
                if old != new:
                    short = 12 if kind == "data" else 200
                    yield f"{name} {old[:short]} -> {new[:short]}"


def provenance_of(problem: Problem, seeds: Sequence[int], device: str = "cpu") -> Provenance:
    """Provenance of a study of `problem` that starts now on this machine."""
    return Provenance(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=dict(_versions()) | {"python": platform.python_version()},
        plugins=dict(
            p.origin.rpartition(" ")[::2] for part in announced()[0].values() for p in part
        ),
        hardware=hardware(device),
        seeds=list(seeds),
        data=dict(problem.fingerprints()) if isinstance(problem, HasFingerprints) else {},
    )


def begin(folder: Path, problem: Problem, study: StudyFile) -> None:
    """Write `study.toml` and `provenance.json` as a comparison starts, if they are not there.

    Where they are, it goes on: raises `InvalidValueError` if data or model are not the same.
    """
    now = provenance_of(problem, study.seed_list, study.device)
    then = read_provenance(folder)
    if then is not None:
        changed = [n for n in then.data if n in now.data and then.data[n] != now.data[n]]
        if changed:
            raise InvalidValueError(
                f"cannot resume {folder}: the data called {' and '.join(changed)} are not those "
                f"it was started with ({PROVENANCE_NAME})"
            )
        return
    write_study(folder / STUDY_NAME, study)
    write_provenance(folder, now)


def hardware(device: str) -> dict[str, str]:
    """Processor, cores, threads and accelerator by name; torch is asked only if it is loaded."""
    parts = {"machine": platform.machine(), "cores": str(os.cpu_count())}
    parts["system"] = f"{platform.system()} {platform.release()}"
    parts["processor"] = _processor()
    torch = sys.modules.get("torch")
    if torch is not None:
        parts["threads"] = str(torch.get_num_threads())
        if torch.device(device).type == "cuda":
            parts["accelerator"] = torch.cuda.get_device_name(device)
    return parts


def compared(
    old: Path, new: Path, before: Summary | None, after: Summary | None
) -> tuple[bool, list[str]]:
    """Whether two comparisons found the same fronts, and lines that name the differences.

    `old` and `new` are their folders. Where fronts differ, changed versions, hardware and data
    follow.
    """
    if before is None or after is None:
        return False, [f"{old}: finished in the {'second' if before is None else 'first'} run only"]
    different = list(changed_fronts(before, after))
    if not different:
        return True, [f"{old}: the fronts are equal ({len(before.front)} points)"]
    origins = read_provenance(old), read_provenance(new)
    changed = list(origins[0].changes(origins[1])) if origins[0] and origins[1] else []
    return False, [f"{old}: the fronts differ", *(f"  {line}" for line in [*different, *changed])]


def changed_fronts(before: Summary, after: Summary) -> Iterator[str]:
    """One sentence per study whose front is not the same: points, objectives, held-out objectives.

    Numbers are compared exactly: the same seed on the same machine gives the same front.
    """
    if before.interrupted or after.interrupted:
        yield f"the {'first' if before.interrupted else 'second'} run was interrupted"
    fronts = _fronts(before), _fronts(after)
    for study in sorted(fronts[0].keys() | fronts[1].keys()):
        old, new = (front.get(study) for front in fronts)
        label, seed = study
        if old is None or new is None:
            yield f"{label} seed {seed} is in the {'second' if old is None else 'first'} run only"
        elif old != new:
            yield (
                f"{label} seed {seed}: {len(old)} front points before, {len(new)} now, "
                f"{len(old & new)} of them the same"
            )
    measured = sorted({o.name for o in before.objectives} & set(MEASURED))
    if measured and fronts[0] != fronts[1]:
        yield f"{', '.join(measured)} is measured, so no two runs are exactly the same"


def _fronts(summary: Summary) -> dict[tuple[str, int], set[str]]:
    fronts: dict[tuple[str, int], set[str]] = {(s.label, s.seed): set() for s in summary.studies}
    for point in summary.front:
        fronts.setdefault((point.label, point.seed), set()).add(_identity(point))
    return fronts


def _identity(point: FrontPoint) -> str:
    parts = [point.space, point.knobs, point.keep, point.search, point.heldout]
    return json.dumps(parts, sort_keys=True)


def write_provenance(folder: Path, content: Provenance) -> None:
    """Write `provenance.json`; raises `BrokenFileError` naming the file."""
    write_stored(folder / PROVENANCE_NAME, content)


def read_provenance(folder: Path) -> Provenance | None:
    """Read it; None where a results folder has none, from before there was one."""
    file = folder / PROVENANCE_NAME
    return read_stored(file, "provenance file", Provenance) if file.exists() else None


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _processor() -> str:
    """Its model name; Python knows none on Linux."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor() or platform.machine()
