"""Draws docs/images/areas.png: areas of drawn picture sizes, as they are and equalised.

python docs/make_areas.py
"""

from pathlib import Path

import numpy as np

from paretoprune.report.figures import write_areas_png
from paretoprune.tasks.areas import equalised

FILE = Path(__file__).parent / "images" / "areas.png"


def main() -> None:
    """Sizes of 400 pictures, most of them small, from a fixed seed."""
    sides = 200 + 160 * np.random.default_rng(0).standard_exponential((400, 2))
    sizes = [(int(width), int(height)) for width, height in sides]
    write_areas_png(sizes, equalised(sizes), FILE)
    print(f"written to {FILE}")


if __name__ == "__main__":
    main()
