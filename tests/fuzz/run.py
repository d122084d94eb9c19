"""Coverage-guided fuzzing of what reads a stranger's files: `python tests/fuzz/run.py TARGET`.

Further arguments go to libFuzzer, such as `-runs=10000`. New inputs that reach new code go to
`tests/fuzz/corpus/TARGET`, if that folder is named. Needs `pip install atheris`.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["paretoprune"]):
    import targets
    from mutations import case_of
    from target import check

MAX_MEMORY_BYTES = 12 * 2**30


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        sys.exit(f"name a target: {', '.join(targets.TARGETS)}")
    target = targets.TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=["paretoprune"]):
        seeds = target.seeds()
        for name, text in seeds.items():  # what it uses is imported when it runs: now, watched
            check(target, name, text.encode("utf-8"))
    # an input that asks for more gets a MemoryError, not the machine
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))

    def one(data: bytes) -> None:
        """One case."""
        case = case_of(seeds, data)
        if case is not None:
            check(target, *case)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
