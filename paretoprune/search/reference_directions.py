"""Reference directions: weights spread evenly over the objectives, as many as a population."""

from __future__ import annotations

import math

from paretoprune.errors import InvalidValueError


def max_divisions(objectives: int, population: int) -> int:
    """Divisions p per objective of the Das-Dennis lattice (doi:10.1137/S1052623496307510).

    The largest p whose C(p + m - 1, m - 1) directions of m `objectives` are at most `population`:
    population - 1 for two objectives. Raises `InvalidValueError` where not even p = 1 fits, which
    has one direction per objective.
    """
    if population < objectives:
        raise InvalidValueError(
            f"{objectives} objectives need a population of at least {objectives}, got {population}"
        )
    divisions = 1
    while math.comb(divisions + objectives, objectives - 1) <= population:
        divisions += 1
    return divisions
