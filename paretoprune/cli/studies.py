"""Study files and what was run from them: `init` and `rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paretoprune.cli.app import app
from paretoprune.cli.compare import compare, given_settings
from paretoprune.cli.options import Cluster, Executor, Out, Remote, Storage, Workers
from paretoprune.cli.terminal import free_folder
from paretoprune.errors import InvalidValueError


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write, which does not exist yet.")] = Path(
        "study.toml"
    ),
) -> None:
    """Write a commented study file with every setting of compare at its default."""
    from paretoprune.comparison.configuration_init import commented_study
    from paretoprune.files import write_whole

    if file.exists():
        raise InvalidValueError(f"{file} exists; name another file")
    write_whole(file, commented_study(meanings()).encode("utf-8"))
    typer.echo(f"written to {file}; run it with: paretoprune compare --config {file}")


@app.command()
def rerun(
    context: typer.Context,
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
    trust_remote_code: Remote = False,
    problem: Annotated[
        str | None,
        typer.Option(help="The problem of your own that was searched, module:attribute."),
    ] = None,
    storage: Storage = None,
    executor: Executor = "in-process",
    workers: Workers = None,
    cluster: Cluster = None,
    out: Out = None,
) -> None:
    """Run a study again from its results folder, and say whether the fronts are equal.

    It runs in process, with its log in the folder, unless told otherwise. Exit code 1 if they are
    not equal.
    """
    from paretoprune.cli.run import run
    from paretoprune.comparison.configuration import PLACES, STUDY_NAME, Case, StudyFile, read_study
    from paretoprune.comparison.sweep import read_cases, read_summaries

    before = read_summaries(results)
    given = given_settings(context)
    place = {n: given.get(n, StudyFile.model_fields[n].default) for n in PLACES}
    whole = read_study(results / STUDY_NAME).changed(place)
    cases = [Case(c.folder, c.study.changed(place)) for c in read_cases(results)]
    for case in cases:
        case.study.confirm(given)
    folder = free_folder(out, default=results.with_name(f"{results.resolve().name}-rerun"))
    run(whole, cases, folder)
    after = read_summaries(folder)
    equal = [_told(results / n, folder / n, before.get(n), after.get(n)) for n in before | after]
    if not all(equal):
        raise typer.Exit(1)


def meanings() -> dict[str, str]:
    """Help texts of the flags of `compare`, by setting."""
    from typing import get_type_hints

    hints: dict[str, Any] = get_type_hints(compare, include_extras=True)
    return {
        name: note.help or ""
        for name, hint in hints.items()
        for note in getattr(hint, "__metadata__", ())
    }


def _told(old: Path, new: Path, before: Any, after: Any) -> bool:
    """Print whether two comparisons found the same fronts, and what else is different."""
    from paretoprune.comparison.provenance import changed_fronts, read_provenance

    if before is None or after is None:
        typer.echo(f"{old}: finished in the {'second' if before is None else 'first'} run only")
        return False
    found = list(changed_fronts(before, after))
    if not found:
        typer.echo(f"{old}: the fronts are equal ({len(before.front)} points)")
        return True
    typer.echo(f"{old}: the fronts differ")
    origins = read_provenance(old), read_provenance(new)
    changed = list(origins[0].changes(origins[1])) if origins[0] and origins[1] else []
    for line in [*found, *changed]:
        typer.echo(f"  {line}")
    return False
