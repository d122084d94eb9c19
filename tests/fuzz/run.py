"""Coverage-guided fuzzing of what reads a stranger's files: `python tests/fuzz/run.py TARGET`.

Further arguments go to libFuzzer, such as `-runs=10000`. New inputs that reach new code go to
`tests/fuzz/corpus/TARGET`, if that folder is named. Needs atheris: `pip install atheris`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["paretoprune"]):
    import targets
    from mutations import broken, mutated


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        sys.exit(f"name a target: {', '.join(targets.TARGETS)}")
    target = targets.TARGETS[sys.argv[1]]
    seeds = target.seeds()
    names = sorted(seeds)

    def one(data: bytes) -> None:
        """The first byte chooses the file, the next whether the rest mutates it or replaces it."""
        if len(data) < 2:
            return
        name = names[data[0] % len(names)]
        if data[1] < 128:
            rng = random.Random(data[2:])
            text = seeds[name]
            as_json = name.endswith(".json")
            content = mutated(text, rng) if as_json else broken(text.encode("utf-8"), rng)
        else:
            content = data[2:]
        targets.check(target, name, content)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
