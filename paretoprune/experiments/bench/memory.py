"""Memory of a large model: a synthetic checkpoint of a billion parameters in bf16.

Each figure is from a process of its own: what loading takes at most, and what evaluating takes
for few and for four times as many samples. Prefills go to disk beyond a few megabytes, so that the
second must not grow with the number of samples.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from paretoprune.experiments.bench import machine, one_line, write_figures

LAYERS = 20
SIDE, PATCH = 112, 14
PREFILL_BYTES = 2 << 20
"""Prefills and dense states that stay in memory, bytes: little, so that the disk is used."""
SAMPLES = 4
PERIOD = 0.01
"""Seconds between two looks at the memory in use."""


@dataclass(frozen=True)
class MemoryFigures:
    """Bytes: of the weights on disk, and the peak of each process's own memory.

    Own memory is what no file backs (RssAnon): weights that are mapped from their file count once
    they are copied. `resident` is the largest resident size of any of the processes, mapped files
    included.
    """

    parameters: int
    weights: int
    loading: int
    few_samples: int
    many_samples: int
    resident: int


def run(
    console: Console,
    *,
    device: str = "cpu",
    out: Path | None = None,
    layers: int = LAYERS,
    **_: Any,
) -> dict[str, Any]:
    """Build the checkpoint, measure the processes, print and return the figures."""
    found = machine(device)
    console.print(one_line(found))
    with tempfile.TemporaryDirectory(prefix="paretoprune-memory-") as folder:
        with console.status("writing a synthetic checkpoint"):
            built = _child("build", folder, str(layers))
        weights = sum(f.stat().st_size for f in Path(folder).glob("*.safetensors"))
        with console.status("measuring"):
            loaded = _child("load", folder)
            few = _child("evaluate", folder, str(SAMPLES))
            many = _child("evaluate", folder, str(4 * SAMPLES))
    figures = MemoryFigures(
        parameters=built["parameters"],
        weights=weights,
        loading=loaded["own"],
        few_samples=few["own"],
        many_samples=many["own"],
        resident=max(part["resident"] for part in (loaded, few, many)),
    )
    table = Table(title=f"Memory of a model of {figures.parameters / 1e9:.2f} billion parameters")
    table.add_column("")
    table.add_column("GiB", justify="right")
    table.add_column("of the weights", justify="right")
    for name, value in (
        ("weights on disk, bfloat16", figures.weights),
        ("peak while loading", figures.loading),
        (f"peak while evaluating {SAMPLES} samples", figures.few_samples),
        (f"peak while evaluating {4 * SAMPLES} samples", figures.many_samples),
        ("largest resident size, mapped files included", figures.resident),
    ):
        table.add_row(name, f"{value / 2**30:.2f}", f"{value / figures.weights:.2f}")
    console.print(table)
    result = {"machine": found, "figures": asdict(figures)}
    write_figures(out, result)
    return result


def _child(*arguments: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    figures: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


class _Watch:
    """Looks at this process's own memory while a block runs (Linux; elsewhere resident size)."""

    def __enter__(self) -> _Watch:
        self.own = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._stop.wait(PERIOD):
            self.own = max(self.own, _own_bytes())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.own = max(self.own, _own_bytes())


def _own_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for line in status.read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _build(folder: Path, layers: int) -> dict[str, int]:
    """Write the checkpoint directory, weights made in bf16."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from paretoprune.zoo.blueprints import NORMALISED, llava_tokenizer

    tokenizer = llava_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        image_size=SIDE, patch_size=PATCH,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32_000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=16, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, vision_feature_layer=-1,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)  # this process does nothing else
    model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size=size, crop_size=size, **NORMALISED).save_pretrained(folder)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def _load(folder: str) -> Any:
    from paretoprune.zoo.load import load_adapter

    return load_adapter(folder, dtype="bfloat16")


def _evaluate(folder: str, count: int) -> None:
    """Score four schedules on noise pictures, one sample at a time."""
    import numpy as np

    from paretoprune.compression.evaluator import Running
    from paretoprune.compression.population import score_population
    from paretoprune.compression.problem import Compression
    from paretoprune.compression.scorer import Scorer
    from paretoprune.pruning.pruners.fastv import FastV
    from paretoprune.tasks.base import Sample
    from paretoprune.techniques.tokens import Tokens

    rng = np.random.default_rng(0)
    samples = [
        Sample(
            str(i),
            rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
            "what is this ?",
            "no",
            "-",
        )
        for i in range(count)
    ]
    running = Running(batch=1, prefill_bytes=PREFILL_BYTES, dense_bytes=PREFILL_BYTES)
    problem = Compression(
        _load(folder), samples, Tokens(FastV()), allow_no_tradeoff=True, running=running
    )
    layers = problem.adapter.spec.layers
    ratios = np.ones((4, layers))
    for row, layer in zip(ratios, np.linspace(1, layers - 1, 4).astype(int), strict=True):
        row[layer:] = 0.5
    score_population(
        problem.adapter, [problem.tokens.pruner] * len(ratios), problem.evaluator.batches,
        problem.evaluator.dense_log_probabilities, ratios,
        chosen=np.ones(count, dtype=np.bool_), scorer=Scorer(problem.adapter, problem.samples),
    )  # fmt: skip


def _main(mode: str, folder: str, *rest: str) -> None:
    if mode == "build":
        print(json.dumps(_build(Path(folder), int(rest[0]))))
        return
    with _Watch() as watch:
        if mode == "load":
            _load(folder)
        else:
            _evaluate(folder, int(rest[0]))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"own": watch.own, "resident": resident}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
