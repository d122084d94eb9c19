"""Print the lowest version of each direct dependency that pyproject.toml allows, as constraints.

But torch: only the tested build of it is at hand, so its bound is not tried.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOWEST = re.compile(r"(?P<name>[\w.-]+)(?:\[\w+\])?>=(?P<version>[\w.]+)")
NOT_TRIED = "torch"


def lowest() -> dict[str, str]:
    """Version by name, of the dependencies and of all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = [LOWEST.fullmatch(requirement) for group in groups for requirement in group]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in pins if "==" in line and line[0] != "#")
    return {b["name"]: b["version"] for b in bounds} | {NOT_TRIED: tested[NOT_TRIED]}


if __name__ == "__main__":
    for name, version in lowest().items():
        print(f"{name}=={version}")
