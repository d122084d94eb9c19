"""Runs the code blocks of README.md and docs/, and writes their real output back into the pages.

    python docs/make_outputs.py            # all pages
    python docs/make_outputs.py README.md docs/quickstart.md

What is run, page by page and in order, in an empty folder per page:

- ```python blocks, each with `title="NAME.py"`, the file it belongs to: blocks of one title are
  parts of one file, and share a namespace. A ```text block right behind one, marked
  `<!-- output -->`, holds what it prints.
- ```console blocks; every line `$ paretoprune ...` is one command, the lines below it its output.

A block with a title of another kind (`title="half.json"`) is written to that file. A comment just
above a block changes how it is run: `<!-- not run: REASON -->` (never run, output kept),
`<!-- exit code: N -->` (the last command must end so, and its error message is part of the output),
`<!-- output: not shown -->` (commands only).

`tests/docs/test_code_blocks.py` runs the same blocks and checks that they succeed, and that each
file runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import glob
import io
import linecache
import os
import re
import shlex
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
"""Columns of the terminal that commands believe in."""


@dataclass
class Block:
    """A fenced block: its language, title, lines, and the comments just above it.

    `title` names the file that it is a part of, "" for none. `start` and `end` index the page's
    lines: the first inside the fence and the closing fence.
    """

    language: str
    title: str
    lines: list[str]
    start: int
    end: int
    comments: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The block's text."""
        return "\n".join(self.lines) + "\n"

    def comment(self, key: str) -> str | None:
        """What follows `key:` in a comment above; "" for a bare `key`, None without one."""
        for comment in self.comments:
            if comment == key:
                return ""
            if comment.startswith(f"{key}:"):
                return comment[len(key) + 1 :].strip()
        return None

    @property
    def skipped(self) -> bool:
        """Whether a comment says that it is not run."""
        return self.comment("not run") is not None


def pages() -> list[Path]:
    """README.md, CONTRIBUTING.md and every page of docs/."""
    first = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*first, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order, those inside lists and boxes included."""
    found: list[Block] = []
    comments: list[str] = []
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        opened = re.match(r'^( *)```([\w-]*)(?: title="([^"]+)")?', line)
        if opened:
            end = next(i for i in range(place + 1, len(lines)) if lines[i].strip() == "```")
            inside = [x.removeprefix(opened[1]) for x in lines[place + 1 : end]]
            title = opened[3] or ""
            found.append(Block(opened[2], title, inside, place + 1, end, comments))
            comments = []
            place = end
        elif comment := re.match(r"^ *<!-- (.*) -->$", line):
            comments = [*comments, comment[1]]
        elif line.strip():
            comments = []
        place += 1
    return found


def files(text: str) -> dict[str, str]:
    """The files of a page, by name: what its titled blocks hold together."""
    found: dict[str, str] = {}
    for block in blocks(text):
        if block.title and not block.skipped:
            found[block.title] = found.get(block.title, "") + block.code
    return found


@contextlib.contextmanager
def modules_of_files() -> Iterator[dict[str, types.ModuleType]]:
    """Modules by file name; they can import each other while this is open, and are then gone."""
    modules: dict[str, types.ModuleType] = {}
    try:
        yield modules
    finally:
        for name in modules:
            sys.modules.pop(Path(name).stem, None)


def run_page(text: str, modules: dict[str, types.ModuleType] | None = None) -> str:
    """Run a page's blocks in the current folder; return the page with their outputs in place.

    Raises what a python block raises, and `RuntimeError` for a command that ends otherwise than
    the page says.
    """
    if modules is None:
        with modules_of_files() as modules:
            return run_page(text, modules)
    lines = text.splitlines()
    moved = 0
    printed: str | None = None
    for name, content in files(text).items():
        Path(name).write_text(content, encoding="utf-8")
    for block in blocks(text):
        new: list[str] | None = None
        if block.language == "text" and block.comment("output") is not None:
            if printed is None:
                raise RuntimeError(f"line {block.start}: an output without a python block")
            new = printed.splitlines()
        elif block.skipped:
            printed = None
        elif block.language == "python":
            stem = Path(block.title).stem
            module = modules.setdefault(block.title, types.ModuleType(stem))
            sys.modules[stem] = module
            printed = run_python(block, module)
        elif block.language == "console":
            new = run_console(block)
        if new is not None:
            lines[block.start + moved : block.end + moved] = new
            moved += len(new) - len(block.lines)
    return "\n".join(lines) + "\n"


def run_python(block: Block, module: types.ModuleType) -> str:
    """Run a python block in its file's module; return what it prints."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        name = f"<block at line {block.start + 1}>"
        # tracebacks then show the block's lines
        linecache.cache[name] = (len(block.code), None, block.code.splitlines(True), name)
        exec(compile(block.code, name, "exec"), module.__dict__)
    return stream.getvalue()


def run_console(block: Block) -> list[str]:
    """Run the commands of a console block; return its lines with their real output."""
    commands = [line for line in block.lines if line.startswith("$ ")]
    expected = int(block.comment("exit code") or 0)
    lines: list[str] = []
    for number, command in enumerate(commands, start=1):
        wanted = expected if number == len(commands) else 0
        code, out, err = run_command(command)
        if code != wanted:
            raise RuntimeError(f"{command!r} ended with code {code}, not {wanted}:\n{out}{err}")
        hidden = block.comment("output") == "not shown"
        shown = "" if hidden else out + (err if wanted else "")
        lines += [command, *(line.rstrip() for line in shown.splitlines())]
        if number < len(commands) and not hidden:
            lines.append("")
    return lines


def run_command(command: str) -> tuple[int, str, str]:
    """Run `$ paretoprune ...` in this process; return exit code, standard output and error."""
    from paretoprune import cli

    program, *words = shlex.split(command.removeprefix("$ "), comments=True)
    if program != "paretoprune":
        raise RuntimeError(f"only paretoprune commands can be run, got {command!r}")
    arguments = [
        path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])
    ]
    out, err = io.StringIO(), io.StringIO()
    argv, columns = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = [program, *arguments], str(WIDTH)
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return (code if isinstance(code, int) else 1), out.getvalue(), err.getvalue()


@contextlib.contextmanager
def registries_restored() -> Iterator[None]:
    """Forget the names that a page registers."""
    from paretoprune.registry import ALL

    before = [dict(registry._entries) for registry in ALL]
    try:
        yield
    finally:
        for registry, entries in zip(ALL, before, strict=True):
            registry._entries = entries


def main() -> None:
    """Refresh the pages named on the command line, or all."""
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or pages()
    home = Path.cwd()
    for page in chosen:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, registries_restored():
            os.chdir(folder)
            try:
                new = run_page(text)
            finally:
                os.chdir(home)
        page.write_text(new, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'changed' if new != text else 'unchanged'}")


if __name__ == "__main__":
    main()
