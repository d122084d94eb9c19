"""What is seen of data before a search: `areas`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.terminal import free_file
from paretoprune.errors import InvalidValueError


@app.command()
def areas(
    data: Annotated[str, typer.Argument(help="Calibration data: a JSON file or a folder.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="Task that reads them, with its options: pictures or llava-instruct. "
            "[default: pictures for a folder, else llava-instruct]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write. [default: areas.png, numbered]")
    ] = None,
) -> None:
    """Draw the areas of calibration pictures, as they are and equalised (areas=uniform)."""
    from paretoprune.report.figures import write_areas_png
    from paretoprune.tasks.areas import equalised, unevenness
    from paretoprune.tasks.calibration.base import Calibration
    from paretoprune.tasks.load import load_task

    name = task if task is not None else ("pictures" if Path(data).is_dir() else "llava-instruct")
    found = load_task(name, data)
    if not isinstance(found, Calibration):
        raise InvalidValueError(
            f"task {name!r} is no calibration data; allowed: pictures, llava-instruct"
        )
    after = equalised(found.sizes, low=found.low, high=found.high)
    file = out or free_file(Path("areas.png"))
    write_areas_png(found.sizes, after, file)
    typer.echo(
        f"{len(after)} pictures: {unevenness(found.sizes):.2f} from a uniform distribution of "
        f"areas, {unevenness(after):.2f} when equalised; written to {file}"
    )
