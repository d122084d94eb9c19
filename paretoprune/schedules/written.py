"""Keep schedules as a command line takes them: a file, ratios, or a rule.

`best.json`, `1,1,0.5,0.5` (one ratio per layer; `2x1,30x0.25` repeats), `keep=0.5,layer=2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.schedules.files import ScheduleFile, read_schedule
from paretoprune.schedules.schedule import KeepSchedule

RULE = ("keep", "layer")
MAX_LAYERS = 10_000


@dataclass(frozen=True)
class Written:
    """A schedule as written in a text, before the number of layers is known.

    Either `ratios` of all layers, or the share `keep` from layer `layer` on; `content` is the
    file's, where it is one.
    """

    text: str
    ratios: tuple[float, ...] = ()
    keep: float = 1.0
    layer: int = 0
    content: ScheduleFile | None = None

    def schedule(self, layers: int) -> KeepSchedule:
        """The schedule for a decoder of `layers`; raises `InvalidValueError` if it does not fit."""
        if self.ratios:
            if len(self.ratios) != layers:
                raise InvalidValueError(
                    f"schedule {self.text!r} has {len(self.ratios)} layers, the model has {layers}"
                )
            return KeepSchedule(self.ratios)
        if self.layer >= layers:
            raise InvalidValueError(
                f"schedule {self.text!r}: layer must be in 0..{layers - 1}, the model has {layers} "
                "layers"
            )
        return KeepSchedule((1.0,) * self.layer + (self.keep,) * (layers - self.layer))


def parse_schedule(text: str) -> Written:
    """Read a written schedule.

    `keep=R,layer=K` keeps everything before layer K and the share R from there on. Raises
    `BrokenFileError`, `InvalidValueError` or `UnknownNameError` in one sentence.
    """
    wanted = text.strip()
    if wanted.endswith(".json") or (wanted and Path(wanted).is_file()):
        content = read_schedule(Path(wanted))
        return Written(text, content.schedule.ratios, content=content)
    if "=" in wanted:
        return _rule(wanted)
    if wanted and wanted[0] in "0123456789.":
        return Written(text, KeepSchedule.from_ratios(_ratios(wanted)).ratios)
    raise BrokenFileError(
        f"schedule {text!r} is no file, no list of ratios such as '1,1,0.5,0.5' and no rule such "
        "as 'keep=0.5,layer=2'"
    )


def _ratios(text: str) -> list[float]:
    ratios: list[float] = []
    for part in text.split(","):
        times, cross, ratio = part.strip().rpartition("x")
        try:
            count = int(times) if cross else 1
            value = float(ratio)
        except ValueError:
            raise InvalidValueError(
                f"schedule {text!r}: {part.strip()!r} is no ratio such as 0.5 or 4x0.5"
            ) from None
        if not 1 <= count <= MAX_LAYERS:
            raise InvalidValueError(
                f"schedule {text!r}: {part.strip()!r} must repeat a ratio 1 to {MAX_LAYERS} times"
            )
        ratios += [value] * count
    return ratios


def _rule(text: str) -> Written:
    values: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = (side.strip() for side in part.partition("="))
        if name not in RULE:
            raise UnknownNameError(f"part of the schedule rule {text!r}:", name, RULE)
        if name in values:
            raise InvalidValueError(f"schedule {text!r} gives {name} twice")
        values[name] = value
    missing = [name for name in RULE if name not in values]
    if missing:
        raise InvalidValueError(f"schedule {text!r} needs {missing[0]}=..., too")
    try:
        keep, layer = float(values["keep"]), int(values["layer"])
    except ValueError:
        raise InvalidValueError(
            f"schedule {text!r}: keep is a ratio and layer a whole number, as in 'keep=0.5,layer=2'"
        ) from None
    if layer < 0:
        raise InvalidValueError(f"schedule {text!r}: layer must be 0 or more")
    KeepSchedule((keep,))  # says what a ratio may be
    return Written(text, keep=keep, layer=layer)
