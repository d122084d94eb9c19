"""What the terms of a report mean, in plain English; only those that the report uses."""

from __future__ import annotations

from paretoprune.comparison.results import Summary
from paretoprune.report import words


def terms(summary: Summary) -> dict[str, str]:
    """Meanings by term, in reading order."""
    found: dict[str, str] = {}
    if words.has_heldout(summary):
        budgets = "budgets, evenly from the cost's best to its reference"
        scale = "1 is the quality's best, 0 its reference."
        if "dense_gflops" in summary.problem:
            budgets = "compute budgets, from a twentieth to all of the dense compute"
            scale = "1 is the dense model, 0 the model without visual tokens."
        found["How the ranking works"] = (
            "Every strategy gets the same search cost and sees the search split only. Take 20 "
            f"{budgets}. At each, take the "
            "configuration that the search split recommends within it, and look up its score on "
            "held-out data. The mean of the 20 scores is the held-out front area: what someone "
            "gets who has a budget, searches, and deploys what the search recommends. "
            f"{scale}"
        )
        found["Interval, and ≈"] = (
            "The interval is 95 %, by bootstrap over seeds and held-out samples. With one seed, "
            "the spread between seeds is not in it; with two or three, it is likely too small. "
            "Whether a strategy differs from the first is "
            "not read off the overlap of intervals: every pair is compared by its difference, "
            "paired by sample, and p-values are adjusted for the number of pairs (Holm). ≈ marks "
            "those that are not separated from the first at 5 %."
        )
    else:
        found["How the ranking works"] = (
            "Every strategy gets the same search cost. There are "
            + (
                "no held-out data"
                if summary.heldout_problem is None
                else "more than two objectives"
            )
            + ", so they are ranked by mean hypervolume on the data they searched on, luck "
            "included."
        )
    found["Hypervolume"] = (
        "The area that a front dominates, up to a fixed reference point; 1 is the ideal. It is "
        "computed on the search split and says how well a strategy optimised. The reference is "
        "the problem's, never the run's, so hypervolumes of different runs can be compared."
    )
    reference = (
        "Distances to the union front: the non-dominated points of all studies together."
        if summary.reference is None
        else f"Distances to {words.reference_front(summary)}, which no search chose."
    )
    found["IGD+, epsilon, Hausdorff"] = (
        f"{reference} IGD+ is the mean shortfall, epsilon the worst one, Hausdorff counts points "
        "beyond it too. Lower is better"
        + ("; they depend on who takes part." if summary.reference is None else ".")
    )
    if "dense_gflops" in summary.problem:
        found["Dense-pass equivalent"] = (
            "The unit of search cost: the FLOPs of the dense decoder over the whole search split. "
            "An evaluation costs what its pruned decoder computes; gradient steps count, forward "
            "and backward. Asking the same again costs the same again. Executed is what was really "
            "computed of the evaluations after sharing common layers."
        )
        found["Relative score q and relative compute u"] = (
            "Both are 1 for the dense model and 0 without visual tokens: q = (score - blind) / "
            "(dense - blind), u likewise with the FLOPs of the decoder's prefill. q may leave 0 "
            "to 1."
        )
        found["Keep schedule"] = (
            "The percentage of visual tokens that each decoder layer processes. It never rises: a "
            "token that has left does not come back."
        )
    else:
        found["Search cost"] = "In units of the problem, as it prices its own evaluations."
    return found
