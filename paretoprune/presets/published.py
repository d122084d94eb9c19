"""The presets, as their papers and released code have them, method by method.

All were published for LLaVA-1.5-7B: 576 visual tokens, 32 decoder layers. Layers count from 0, as
in the released code: `(2, 288)` keeps 288 tokens from the third layer on.
"""

from __future__ import annotations

from paretoprune.presets.base import Preset

TOKENS = 576

_FASTV = "FastV (arXiv 2403.06764)"
FASTV = tuple(
    Preset(f"fastv:k={k},r={r:g}", "fastv", ((k, TOKENS * (1 - r)),), _FASTV, "table 1")
    for k, r in ((2, 0.5), (2, 0.75), (3, 0.5), (3, 0.75), (5, 0.75))
)
"""K layers see all tokens; then the share R leaves."""

PYRAMIDDROP = (
    Preset(
        "pyramiddrop:default", "pyramiddrop", ((8, 288), (16, 144), (24, 72)),
        "PyramidDrop (arXiv 2410.17247)", "section 4.1: four stages, half at each end",
    ),
)  # fmt: skip

_SPARSEVLM = "SparseVLM (arXiv 2410.04417)"
SPARSEVLM = tuple(
    Preset(
        f"sparsevlm:{nominal}", "sparsevlm", tuple(zip((3, 7, 16), counts, strict=True)),
        _SPARSEVLM, "released code, v1.5",
    )
    for nominal, counts in (
        (192, (309, 204, 113)), (128, (312, 117, 39)), (64, (82, 32, 18))
    )
)  # fmt: skip
"""Layers 2, 6 and 15 rank, so tokens leave behind them; recycled tokens (9, 4, 3 of the first
preset's) are counted. The names are the paper's nominal means, which that code exceeds."""

VTW = (
    Preset("vtw:k=15", "vtw", ((15, 0),), "VTW (arXiv 2405.05803)", "released code, its default"),
)

_DART = "DART (arXiv 2502.11494)"
DART = tuple(
    Preset(
        f"dart:{count}", "dart", ((2, count),), _DART, "table 1: behind layer 2, 4 + 4 pivots",
        settings={"visual_pivots": 4, "text_pivots": 4},
    )
    for count in (192, 128, 64)
)  # fmt: skip

_VISIONZIP = "VisionZip (arXiv 2412.04467)"
VISIONZIP = tuple(
    Preset(
        f"visionzip:{count}", "visionzip", ((0, count),), _VISIONZIP, "table 1",
        settings={"contextual": 10 / 64},
    )
    for count in (192, 128, 64)
)  # fmt: skip
"""Of them 30, 20 and 10 are contextual."""

_FASTERVLM = "FasterVLM (arXiv 2412.01818, version 1)"
FASTERVLM = tuple(
    Preset(f"fastervlm:r={r:g}", "fastervlm", ((0, count),), _FASTERVLM, "table 1")
    for r, count in ((0.5, 288), (0.75, 144), (0.9, 58), (0.95, 29))
)
"""R is the share that leaves."""

_VISPRUNER = "VisPruner (arXiv 2412.01818, version 2)"
VISPRUNER = tuple(
    Preset(
        f"vispruner:{count}", "vispruner", ((0, count),), _VISPRUNER, "table 1",
        settings={"important": 0.5},
    )
    for count in (128, 64, 32)
)  # fmt: skip

DIVPRUNE = (
    Preset(
        "divprune:r=0.098", "divprune", ((0, 56),), "DivPrune (arXiv 2503.02175)",
        "table 1: 9.8 % of the tokens stay",
    ),
)  # fmt: skip

_CDPRUNER = "CDPruner (arXiv 2506.10967)"
CDPRUNER = tuple(
    Preset(f"cdpruner:{count}", "cdpruner", ((0, count),), _CDPRUNER, "table 1")
    for count in (128, 64, 32)
)
