"""Evaluates one keep schedule, and writes it as a file that `paretoprune evaluate` reads.

    python examples/evaluate_schedule.py --keep 1 1 0.5 0.5 0.25 0.25 0.25 0.25 --size 512

Scores are exact match on held-out MiniVQA, per question family, beside those of the dense model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paretoprune import KeepSchedule
from paretoprune.compression.score import score_schedule
from paretoprune.schedules import ScheduleFile, write_schedule


def main() -> None:
    """Parse, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--keep",
        type=float,
        nargs="+",
        default=[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25],
        help="share of visual tokens per decoder layer, never rising [default: %(default)s]",
    )
    parser.add_argument("--model", default="mini-llava", help="model [default: %(default)s]")
    parser.add_argument("--pruner", default="fastv", help="pruner [default: %(default)s]")
    parser.add_argument("--size", type=int, default=64, help="held-out samples")
    parser.add_argument("--out", type=Path, help="schedule file to write")
    args = parser.parse_args()

    schedule = KeepSchedule.from_ratios(args.keep)
    found = score_schedule(schedule, pruner=args.pruner, model=args.model, size=args.size)
    metrics = found.evaluation.metrics
    print(f"exact match {metrics['accuracy']:.3f}, dense {found.dense_score:.3f}")
    for family, score in found.family.items():
        print(f"  {family:10} {score:.3f}, dense {found.dense_family[family]:.3f}")
    print(f"decoder {metrics['gflops']:.4f} GFLOPs per sample, dense {found.dense_gflops:.4f}")
    print(f"KV cache {metrics['kv_bytes']:.0f} bytes, dense {found.dense_kv_bytes:.0f}")
    if args.out is not None:
        write_schedule(
            args.out,
            ScheduleFile(pruner=args.pruner, keep=list(schedule.ratios), model=args.model),
        )
        print(f"written to {args.out}")


if __name__ == "__main__":
    main()
