"""Compares search strategies on the embedded model and prints who found the better front.

    python examples/compare_strategies.py --search-size 256 --heldout-size 512 --budget 16

The defaults are small, so that it takes seconds; figures of so small a run mean little.
"""

from __future__ import annotations

import argparse

from paretoprune import compare, load_problem


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "strategies",
        nargs="*",
        default=["random", "grid:space=single-step", "gradient"],
        help="strategies, as name or name:option=value,... [default: %(default)s]",
    )
    parser.add_argument("--model", default="mini-llava", help="model [default: %(default)s]")
    parser.add_argument("--search-size", type=int, default=32, help="samples to search on")
    parser.add_argument("--heldout-size", type=int, default=32, help="samples to judge on")
    parser.add_argument("--budget", type=float, default=6.0, help="dense passes per study")
    parser.add_argument("--seeds", type=int, default=2, help="seeds per strategy")
    args = parser.parse_args()

    problem = load_problem(args.model, search_size=args.search_size, heldout_size=args.heldout_size)
    comparison = compare(
        problem, args.strategies, budget=args.budget, seeds=list(range(args.seeds))
    )
    summary = comparison.summary

    print(f"exact match: dense {problem.dense_score:.3f}, text-only {problem.text_only_score:.3f}")
    print(f"{'strategy':24} {'held-out area (95 %)':>22} {'hypervolume':>11} {'cost':>5}")
    for line in summary.standings:
        area = f"{line.heldout_area:.3f} [{line.area_low:.3f}, {line.area_high:.3f}]"
        print(f"{line.label:24} {area:>22} {line.hypervolume:11.3f} {line.cost:5.1f}")

    print(f"\nbest front, found by {summary.best_label}:")
    for point in summary.front_of_best():
        score, compute = point.search["score"], point.search["compute"]
        keep = " ".join(f"{100 * share:.0f}" for share in point.keep or [])
        print(f"  score {score:.2f}  compute {compute:.2f}  keep {keep}")


if __name__ == "__main__":
    main()
