"""The plug-in in the real lmms-eval, run from its own command line on tasks that lie here.

lmms-eval wants torchvision, of which there is not always a build that fits torch, and some sixty
packages that the plug-in's tasks do not touch. So it is installed without dependencies, with those
that it really imports, into a virtual environment that sees the packages of this one. The
environment stays in pytest's cache (`--cache-clear` removes it).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.load import load_problem
from paretoprune.deploy.harnesses.answering import load_answering
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.minivqa.dataset import load_split

pytestmark = pytest.mark.slow  # installs a package: a minute or two

VERSION = "0.7.3"
IMPORTED = (
    "loguru", "tenacity", "pytz", "evaluate", "sacrebleu", "portalocker", "tabulate", "lxml",
    "aiohttp", "multidict", "yarl", "propcache", "aiohappyeyeballs", "aiosignal", "frozenlist",
    "accelerate", "psutil", "pytablewriter", "dataproperty", "typepy", "mbstrdecoder", "tabledata",
    "tcolorpy", "pathvalidate", "chardet",
)  # fmt: skip
"""What importing it and running a local task needs beside the packages of the project."""
KEEP = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0]
SAMPLES = load_split("heldout", 24)
CHOICES = [s for s in load_split("heldout", 96) if s.answer in ("yes", "no")]

TASK = """\
task: {name}
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {kind}
doc_to_visual: !function seen.pictures
doc_to_text: question
doc_to_target: answer
{more}
"""
GENERATE = """\
generation_kwargs:
  max_new_tokens: 4
  until: ["\\n"]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
CHOOSE = """\
doc_to_choice: ["yes", "no"]
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def python(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.cache.mkdir(f"lmms-eval-{VERSION}")
    interpreter = folder / "bin" / "python"
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [interpreter, "-m", "pip", "install", "-q", "--no-deps"]
        found = subprocess.run(
            [*install, f"lmms-eval=={VERSION}", *IMPORTED],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if found.returncode:
            pytest.skip(f"lmms-eval cannot be installed here: {found.stderr.strip()[-300:]}")
        inside = subprocess.run(
            [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        ours = sysconfig.get_path("purelib")
        (Path(inside) / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        (folder / "whole").touch()
    return interpreter


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("tasks")
    for name, samples, kind, more in (
        ("mini_said", SAMPLES, "generate_until", GENERATE),
        ("mini_chosen", CHOICES, "multiple_choice", CHOOSE),
    ):
        rows = {
            "image": [s.image for s in samples],
            "question": [s.prompt for s in samples],
            "answer": [s.answer for s in samples],
        }
        data = folder / f"{name}.parquet"
        table = datasets.Dataset.from_dict(rows)
        table.cast_column("image", datasets.Image()).to_parquet(str(data))
        (folder / f"{name}.yaml").write_text(
            TASK.format(name=name, data=data, kind=kind, more=more)
        )
    (folder / "seen.py").write_text("def pictures(row):\n    return [row['image']]\n")
    (folder / "best.json").write_text(
        json.dumps({"format": "paretoprune-schedule/1", "pruner": "fastv", "keep": KEEP})
    )
    return folder


def evaluated(python: Path, folder: Path, task: str, arguments: str, out: str) -> list[dict]:
    """What lmms-eval logs of each sample."""
    done = subprocess.run(
        [
            python, "-m", "lmms_eval", "--model", "paretoprune", "--model_args", arguments,
            "--tasks", task, "--include_path", str(folder), "--batch_size", "5",
            "--device", "cpu", "--log_samples", "--output_path", str(folder / out),
            "--verbosity", "ERROR",
        ],
        capture_output=True, text=True, check=False, timeout=600, cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    (file,) = (folder / out).rglob(f"*_samples_{task}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_its_answers_are_scored_as_ours(python: Path, tasks: Path) -> None:
    """Generation, end to end: each sample's outcome is that of `paretoprune evaluate`."""
    arguments = f"pretrained=mini-llava,schedule={tasks / 'best.json'}"
    logged = evaluated(python, tasks, "mini_said", arguments, "said")
    problem = load_problem("mini-llava", pruner="fastv", split="heldout", search_size=24,
                           heldout_size=0)  # fmt: skip
    assert [s.prompt for s in problem.samples] == [s.prompt for s in SAMPLES]
    (ours,) = problem.evaluate([exact_candidate(KeepSchedule.from_ratios(KEEP))])
    theirs = [row["exact_match"] for row in sorted(logged, key=lambda row: row["doc_id"])]
    assert theirs == ours.outcomes.tolist()
    assert 0 < sum(theirs) < 24


def test_the_likelier_option_is_chosen(python: Path, tasks: Path) -> None:
    """Likelihoods, end to end: losses are those of the pruned model, and the least one counts."""
    file = str(tasks / "best.json")
    logged = evaluated(
        python, tasks, "mini_chosen", f"pretrained=mini-llava,schedule={file}", "chosen"
    )
    answering = load_answering("mini-llava", schedule=file)
    for row, sample in zip(sorted(logged, key=lambda r: r["doc_id"]), CHOICES, strict=True):
        ours = answering.log_likelihoods([[sample.image]] * 2, [sample.prompt] * 2, [" yes", " no"])
        losses = [float(loss) for loss, _ in row["filtered_resps"]]
        assert losses == pytest.approx([-value for value, _ in ours], abs=1e-3)
        assert row["acc"] == (sample.answer == ("yes", "no")[losses.index(min(losses))])
