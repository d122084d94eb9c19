"""The glossary: words that several tables and figures use, and the meanings of a report's terms."""

from __future__ import annotations

from paretoprune.comparison.results import ObjectiveInfo, Summary
from paretoprune.report import display

NOT_SIGNIFICANT = "not significantly different"
UNION_FRONT = "union front"
PRESETS = "published presets"
HYPERVOLUME = "hypervolume, search split"
LAYER = "decoder layer, from 0"


def search_cost(summary: Summary) -> str:
    """Search cost with its unit, as the title of an axis."""
    return f"search cost ({cost_unit(summary)})"


def reference_front(summary: Summary) -> str:
    """The front that distances refer to: `the union front`, or an exhaustive one."""
    if summary.reference is None:
        return "the union front"
    size = summary.reference.evaluations
    return f"the front of {display.plain(summary.reference.name, 40)} ({size} configurations)"


def objective_title(objective: ObjectiveInfo) -> str:
    """Name and unit of an objective; the unit alone where it contains the name."""
    name, unit = display.plain(objective.name, 40), display.plain(objective.unit, 40)
    if name in unit:
        return unit
    return f"{name} ({unit})" if unit else name


def better(objective: ObjectiveInfo) -> str:
    """The better direction: `higher is better` or `lower is better`."""
    return "higher is better" if objective.direction == "max" else "lower is better"


def subject(summary: Summary) -> str:
    """The searched problem: `mini-llava (tokens with fastv)`, or the problem's name."""
    problem = summary.problem
    name = problem.get("problem", "a problem")
    if name == "compression":
        techniques = problem.get("techniques")
        name = ", ".join(techniques) if isinstance(techniques, dict) else "tokens"
    text = display.plain(name, 60)
    if "pruner" in problem:
        text += f" with {display.plain(problem['pruner'], 60)}"
    return f"{display.plain(problem['model'], 60)} ({text})" if "model" in problem else text


def cost_unit(summary: Summary) -> str:
    """Unit of search cost; problems without a dense model charge in a unit of their own."""
    return "dense-pass equivalents" if "dense_gflops" in summary.problem else "problem units"


def has_heldout(summary: Summary) -> bool:
    """Whether strategies are ranked by held-out front area."""
    return any(row.heldout_area is not None for row in summary.standings)


def seeds(summary: Summary) -> str:
    """Number of seeds behind each mean: `mean over 2 seeds`."""
    numbers = sorted({len(row.seeds) for row in summary.standings})
    if not numbers or numbers == [1]:
        return "one seed each"
    if len(numbers) == 1:
        return f"mean over {numbers[0]} seeds"
    return f"mean over {numbers[0]} to {numbers[-1]} seeds"


def terms(summary: Summary) -> dict[str, str]:
    """Meanings by term, in reading order."""
    meanings: dict[str, str] = {}
    dense = "dense_gflops" in summary.problem
    if has_heldout(summary):
        budgets = (
            "compute budgets, from a twentieth to all of the dense compute"
            if dense
            else "budgets, evenly from the cost's best to its reference"
        )
        scale = (
            "1 is the dense model, 0 the model without visual tokens."
            if dense
            else "1 is the quality's best, 0 its reference."
        )
        meanings["How the ranking works"] = (
            "Every strategy gets the same search cost and sees the search split only. Take 20 "
            f"{budgets}. At each, take the configuration that the search split recommends within "
            "it, and look up its score on held-out data. The mean of the 20 scores is the held-out "
            "front area: the expected score of someone who has a budget, searches, and deploys the "
            f"recommended configuration. {scale}"
        )
        meanings["Interval, and ≈"] = (
            "The interval is 95 %, by bootstrap over seeds and held-out samples. With one seed, "
            "the spread between seeds is not in it; with two or three, it is likely too small. "
            "Overlap of intervals does not decide whether a strategy differs from the first: "
            "every pair is compared by its difference, paired by sample, and p-values are adjusted "
            "for the number of pairs (Holm). ≈ marks strategies that are not significantly "
            "different from the first at 5 %."
        )
    else:
        reason = (
            "no held-out data" if summary.heldout_problem is None else "more than two objectives"
        )
        meanings["How the ranking works"] = (
            f"Every strategy gets the same search cost. There are {reason}, so they are ranked by "
            "mean hypervolume on the data they searched on, luck included."
        )
    meanings["Hypervolume"] = (
        "The area that a front dominates, up to a fixed reference point; 1 is the ideal. It is "
        "computed on the search split and says how well a strategy optimised. The reference is "
        "the problem's, never the run's, so hypervolumes of different runs can be compared."
    )
    reference, caveat = (
        ("the union front: the non-dominated points of all studies together", "; they depend on "
         "who takes part")
        if summary.reference is None
        else (f"{reference_front(summary)}, which no search chose", "")
    )  # fmt: skip
    meanings["IGD+, epsilon, Hausdorff"] = (
        f"Distances to {reference}. IGD+ is the mean shortfall, epsilon the worst one, Hausdorff "
        f"counts points beyond it too. Lower is better{caveat}."
    )
    if not dense:
        meanings["Search cost"] = "In units of the problem, as it prices its own evaluations."
        return meanings
    meanings["Dense-pass equivalent"] = (
        "The unit of search cost: the FLOPs of the dense decoder over the whole search split. "
        "An evaluation costs the FLOPs of its pruned decoder; gradient steps count, forward "
        "and backward. Asking the same again costs the same again. Computed is the cost of the "
        "evaluations after sharing common layers."
    )
    meanings["Relative score q and relative compute u"] = (
        "Both are 1 for the dense model and 0 without visual tokens: q = (score - text-only) / "
        "(dense - text-only), u likewise with the FLOPs of the decoder's prefill. q may leave 0 "
        "to 1."
    )
    meanings["Keep schedule"] = (
        "The percentage of visual tokens that each decoder layer processes. It never rises: a "
        "token that has left does not come back."
    )
    return meanings
