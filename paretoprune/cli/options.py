"""The options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_BUDGET = 15.0

Model = Annotated[
    str,
    typer.Option(help="Embedded mini-model, checkpoint directory, or hub name owner/model."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Embedded mini-model, checkpoint directory, or hub name owner/model; repeat for "
        "several. [default: mini-llava]",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What candidates are scored on, as name or name:option=value,... [default: what an "
        "embedded mini-model was trained on, else minivqa]"
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="Where a task that reads data finds it: a file (Parquet, TSV, JSON, CSV), a folder, "
        "or a hub name owner/name."
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="What candidates are scored on, as name or name:option=value,...; repeat for several. "
        "[default: what an embedded mini-model was trained on, else minivqa]",
    ),
]
DataPlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Where a task that reads data finds it: a file (Parquet, TSV, JSON, CSV), a folder, "
        "or a hub name owner/name; with several tasks, one for all or one each.",
    ),
]
Pruner = Annotated[
    str,
    typer.Option(
        help="Operator that decides which visual tokens go, as name or name:knob=value,...; "
        "several with commas, or all, of which the search chooses."
    ),
]
Pruners = Annotated[
    list[str] | None,
    typer.Option(
        "--pruner",
        help="Operator that decides which visual tokens go, as name or name:knob=value,...; "
        "several with commas, or all, of which the search chooses; repeat to compare each by "
        "itself. [default: fastv]",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Published configuration in place of a schedule, such as fastv:k=2,r=0.5: see "
        "paretoprune list preset.",
    ),
]
WithPresets = Annotated[
    bool,
    typer.Option(
        "--with-presets",
        help="Set all published presets that the model can run beside the front; with --preset "
        "only those.",
    ),
]
PresetNames = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        help="Published configuration to set beside the front, such as fastv:k=2,r=0.5, or all of "
        "a method, such as fastv; repeat for several. They are evaluated in the end, and neither "
        "searched, charged nor ranked.",
    ),
]
PrunerKnobs = Annotated[
    bool | None,
    typer.Option(
        "--pruner-knobs/--no-pruner-knobs",
        help="Search the pruners' own knobs too. [default: with several pruners]",
    ),
]
PerPicture = Annotated[
    bool,
    typer.Option(
        "--per-picture",
        help="Keep at least one visual token of each picture of a prompt in each layer whose ratio "
        "is above 0; without it, of each sample.",
    ),
]
SearchSize = Annotated[
    int | None,
    typer.Option(
        min=2, help="Samples of the search split. [default: 128, or what the data have of it]"
    ),
]
HeldoutSize = Annotated[
    int | None,
    typer.Option(
        min=2, help="Samples of the held-out split. [default: 192, or what the data have of it]"
    ),
]
DataSeed = Annotated[int, typer.Option(min=0, help="Seed that the splits are drawn with.")]
Levels = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of the keep-ratio lattice; by default multiples of 8 tokens."),
]
Batch = Annotated[int, typer.Option(min=1, help="Samples per decoder batch, 1 or more.")]
Dtype = Annotated[str, typer.Option(help="Weights and activations: float32, bfloat16, float16.")]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Attn = Annotated[
    str,
    typer.Option(
        help="Attention backend: auto (what transformers prefers for the model), sdpa, eager, "
        "flash_attention_2."
    ),
]
Remote = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that comes with the checkpoint. Off by default.",
    ),
]
Objectives = Annotated[
    str,
    typer.Option(
        help="score and one or more costs: flops, latency_ms, kv_bytes, peak_memory_bytes, "
        "visual_tokens."
    ),
]
ReferenceName = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="Exhaustive front that IGD+, epsilon and Hausdorff refer to: grid:fine, grid:medium "
        "or grid:coarse. [default: the union front]",
    ),
]
Budget = Annotated[
    float,
    typer.Option(
        help="Search cost per study in dense-pass equivalents (one: the dense decoder over the "
        "search split); more than 0."
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Follow the searches with tensorboard:FOLDER or mlflow:URI; repeat for both. Needs "
        "the extra of that name."
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Database for the study log, as postgresql://USER@HOST/DATABASE (extra postgresql). "
        "[default: study.db in the results folder]"
    ),
]
Executor = Annotated[
    str,
    typer.Option(help="Where evaluations run: in-process, or ray (extra ray) on many workers."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Workers of --executor ray, each with a model of its own. [default: one per GPU, or "
        "per core without]",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Address of a running Ray cluster, such as auto or HOST:6379. [default: one on this "
        "machine, for this run]"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Results folder, new or empty. [default: paretoprune-results, numbered]"),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Results folder of a comparison that was interrupted: go on with it, as it was "
        "started. Options that differ from then are refused."
    ),
]
ProblemName = Annotated[
    str,
    typer.Option(
        "--problem",
        help="Problem to search: compression, zdt1, dtlz2, or one of your own as module:attribute "
        "or file.py:attribute.",
    ),
]
Compress = Annotated[
    str,
    typer.Option(
        "--compress",
        help="Techniques to search, joined by commas: tokens, weight_bits, kv_bits.",
    ),
]
