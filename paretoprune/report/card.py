"""A model-card section for a saved schedule, in GitHub-flavoured Markdown."""

from __future__ import annotations

from paretoprune.registry import pruners
from paretoprune.report import words
from paretoprune.report.markdown import escaped
from paretoprune.schedules.files import ScheduleFile


def card_markdown(content: ScheduleFile, file: str) -> str:
    """What a reader of a model card needs: what was pruned, what it costs, how to load it.

    `file` is what the schedule file is called beside the model. Nothing in a name acts as markup.
    """
    schedule = content.schedule
    settings = ", ".join(f"{k}={words.knob(v)}" for k, v in (content.pruner_settings or {}).items())
    rows = [
        ("model", content.model or words.MISSING),
        ("pruner", content.pruner + (f" ({settings})" if settings else "")),
        ("what it keeps", pruners.entry(content.pruner).summary),
        ("visual tokens kept, % per decoder layer", words.schedule(schedule.ratios)),
        ("mean over layers", f"{100 * sum(schedule.ratios) / schedule.layers:.1f} %"),
    ]
    if content.per_picture:
        rows.append(("kept of each picture", "at least one token where the ratio is above 0"))
    if content.compute is not None:
        rows.append(("relative compute u", words.number(content.compute)))
    if content.score is not None:
        error = "" if content.score_error is None else f" ±{words.number(content.score_error)}"
        rows.append(("relative score q, held out", words.number(content.score) + error))
    if content.found_by is not None:
        rows.append(("found by", content.found_by))
    cells = "\n".join(f"| {escaped(name)} | {escaped(words.plain(v, 300))} |" for name, v in rows)
    scales = (
        "q and u are 1 for the dense model and 0 without visual tokens; u is FLOPs of the "
        "decoder's prefill, choosing included."
    )
    model = (content.model or "path/to/checkpoint").replace('"', "")
    name = file.replace('"', "")
    return f"""\
## Visual token pruning

| | |
|---|---|
{cells}

{scales}

```python
import paretoprune

found = paretoprune.load("{words.plain(model, 300)}", schedule="{words.plain(name, 300)}")
print(found.answer([image], ["What is in the picture?"]))
```
"""
