"""Sections that compare strategies with each other: pairs, and attainment surfaces over seeds."""

from __future__ import annotations

import html

from paretoprune.comparison.results import PairRow, Summary
from paretoprune.report import shapes, words
from paretoprune.report.blocks import Head, figure, section, table


def pairs_section(summary: Summary) -> str:
    """Every strategy against every other on the same held-out samples; empty without any."""
    if not summary.pairs:
        return ""
    heads = [
        Head("better", kind="text"),
        Head("than", kind="text"),
        Head("by [95 %]", meaning="difference in held-out front area, with the pair's interval"),
        Head("effect size", meaning="Cohen's d over held-out samples"),
        Head("p", meaning="two-sided, by bootstrap over seeds and samples"),
        Head("p adjusted", meaning="corrected for the number of pairs (Holm)"),
        Head("verdict", kind="text"),
    ]
    rows = [
        [
            html.escape(text)
            for text in (
                words.plain(pair.first),
                words.plain(pair.second),
                f"{pair.difference:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}]",
                words.MISSING if pair.effect_size is None else f"{pair.effect_size:.2f}",
                words.p_value(pair.p_value),
                words.p_value(pair.adjusted),
                verdict(pair),
            )
        ]
        for pair in summary.pairs
    ]
    note = (
        f"<p>{len(rows)} paired comparisons on the same held-out samples. “Separated” means that "
        "the p-value, corrected for their number, is below 0.05.</p>"
    )
    name = "Every strategy against every other"
    return section(name, note + table(name, heads, rows))


def verdict(pair: PairRow) -> str:
    """`separated` or `not separated`."""
    return "separated" if pair.separated else "not separated"


def attainment_section(summary: Summary) -> str:
    """The figure of `plots.attainment_plot`."""
    axes = shapes.axes(summary)
    if axes is None:
        return ""
    alt = (
        "Line plot of attainment surfaces on the search split: for each strategy what half of its "
        "seeds reach, and what all of them reach."
    )
    told = (
        "Solid: the median attainment surface, reached by at least half of a strategy's seeds. "
        "Dotted: the worst case, reached by all of them. The gap between the two is luck."
    )
    if len(summary.objectives) == 3:
        third = words.plain(next(o for o in summary.objectives if o not in (axes.x, axes.y)).name)
        told += (
            f" Both are whatever {third} is; dashed: the median where {third} is no worse than in "
            "half of all points."
        )
    return figure("Attainment over seeds, search split", "plot-attainment", alt, told)
