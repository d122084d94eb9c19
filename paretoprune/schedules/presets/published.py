"""The presets, as their papers and released code have them, method by method.

All were published for LLaVA-1.5-7B: 576 visual tokens, 32 decoder layers. Layers count from 0, as
in the released code: `(2, 288)` keeps 288 tokens from the third layer on.
"""

from __future__ import annotations

from paretoprune.schedules.presets.base import Preset

TOKENS = 576


def fastv() -> list[Preset]:
    """K layers see all tokens; then the share R leaves."""
    paper = "FastV (arXiv 2403.06764)"
    return [
        Preset(f"fastv:k={k},r={r:g}", "fastv", ((k, TOKENS * (1 - r)),), paper, "table 1")
        for k, r in ((2, 0.5), (2, 0.75), (3, 0.5), (3, 0.75), (5, 0.75))
    ]


def pyramiddrop() -> list[Preset]:
    """Four stages of eight layers; half of the tokens leaves at the end of each but the last."""
    drops = ((8, 288), (16, 144), (24, 72))
    paper = "PyramidDrop (arXiv 2410.17247)"
    return [Preset("pyramiddrop:default", "pyramiddrop", drops, paper, "released scripts")]


def sparsevlm() -> list[Preset]:
    """Layers 2, 6 and 15 rank, so tokens leave behind them; recycled tokens are added.

    The first preset recycles 9, 4 and 3 tokens. The names are the paper's nominal means, which the
    released code exceeds.
    """
    paper = "SparseVLM (arXiv 2410.04417)"
    counts = {192: (309, 204, 113), 128: (312, 117, 39), 64: (82, 32, 18)}
    return [
        Preset(
            f"sparsevlm:{nominal}", "sparsevlm", tuple(zip((3, 7, 16), kept, strict=True)), paper,
            "released code, v1.5",
        )
        for nominal, kept in counts.items()
    ]  # fmt: skip


def vtw() -> list[Preset]:
    """All tokens leave at one layer."""
    paper = "VTW (arXiv 2405.05803)"
    return [Preset("vtw:k=15", "vtw", ((15, 0),), paper, "released code, its default")]


def dart() -> list[Preset]:
    """One drop behind two layers."""
    paper = "DART (arXiv 2502.11494)"
    settings = {"visual_pivots": 4, "text_pivots": 4}
    return [
        Preset(f"dart:{count}", "dart", ((2, count),), paper, "table 1", settings)
        for count in (192, 128, 64)
    ]


def visionzip() -> list[Preset]:
    """Merged before the decoder; 30, 20 and 10 of the kept tokens are contextual."""
    paper = "VisionZip (arXiv 2412.04467)"
    settings = {"contextual": 10 / 64}
    return [
        Preset(f"visionzip:{count}", "visionzip", ((0, count),), paper, "table 1", settings)
        for count in (192, 128, 64)
    ]


def fastervlm() -> list[Preset]:
    """The share R leaves before the decoder."""
    paper = "FasterVLM (arXiv 2412.01818, version 1)"
    return [
        Preset(f"fastervlm:r={r:g}", "fastervlm", ((0, count),), paper, "table 1")
        for r, count in ((0.5, 288), (0.75, 144), (0.9, 58), (0.95, 29))
    ]


def vispruner() -> list[Preset]:
    """One drop before the decoder; half of the kept tokens by class attention."""
    paper = "VisPruner (arXiv 2412.01818, version 2)"
    settings = {"important": 0.5}
    return [
        Preset(f"vispruner:{count}", "vispruner", ((0, count),), paper, "table 1", settings)
        for count in (128, 64, 32)
    ]


def divprune() -> list[Preset]:
    """One drop before the decoder; 9.8 % of the tokens stay."""
    paper = "DivPrune (arXiv 2503.02175)"
    return [Preset("divprune:r=0.098", "divprune", ((0, 56),), paper, "table 1")]


def cdpruner() -> list[Preset]:
    """One drop before the decoder."""
    paper = "CDPruner (arXiv 2506.10967)"
    return [
        Preset(f"cdpruner:{count}", "cdpruner", ((0, count),), paper, "table 1")
        for count in (128, 64, 32)
    ]
