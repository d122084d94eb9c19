"""The cost model against published figures and closed forms."""

import numpy as np
import pytest

from paretoprune.cost import DecoderSpec, decoder_cost, kv_bytes, layer_cost
from paretoprune.cost.flops import INTERNVL3_8B, LLAVA_1_5_7B, QWEN2_5_VL_7B
from paretoprune.errors import InvalidValueError, UnknownNameError


def test_pyramiddrop_dense_llava():
    """PyramidDrop (arXiv 2410.17247), table 1: 3.82 T for 576 visual tokens."""
    assert decoder_cost(LLAVA_1_5_7B, np.full(32, 576), "B") / 1e12 == pytest.approx(3.82, abs=0.01)


def test_pyramiddrop_four_stages():
    """PyramidDrop, four stages that halve the tokens: 1.78 T."""
    counts = np.repeat([576, 288, 144, 72], 8)
    assert decoder_cost(LLAVA_1_5_7B, counts, "B") / 1e12 == pytest.approx(1.78, abs=0.01)


def test_fastv_ratio():
    """FastV (arXiv 2403.06764): K = 3, R = 50 % is 57 % of dense, 36 text tokens."""
    counts = np.array([612] * 3 + [36 + 288] * 29)
    ratio = decoder_cost(LLAVA_1_5_7B, counts, "A") / decoder_cost(
        LLAVA_1_5_7B, np.full(32, 612), "A"
    )
    assert ratio == pytest.approx(0.57, abs=0.01)


def test_fastv_as_stated_in_its_paper_drops_half_of_all_tokens():
    """With R counted on all 612 tokens the ratio is (K + (L - K) cost(306) / cost(612)) / L."""
    part = float(layer_cost(LLAVA_1_5_7B, 306, "A") / layer_cost(LLAVA_1_5_7B, 612, "A"))
    assert (3 + 29 * part) / 32 == pytest.approx(0.54, abs=0.01)


def test_exact_flops_by_hand():
    """2n(2da + 2dg) + 4n^2 a + 6ndm with d=8, a=8, g=4, m=16, n=3."""
    spec = DecoderSpec(hidden=8, layers=1, heads=2, kv_heads=1, head_dim=4, mlp=16)
    by_hand = 2 * 3 * (2 * 64 + 2 * 32) + 4 * 9 * 8 + 6 * 3 * 8 * 16
    assert layer_cost(spec, 3) == by_hand
    assert layer_cost(spec, 3, "macs") == by_hand / 2


def test_multi_head_macs_are_convention_b():
    """Without grouped queries the exact multiply-accumulates are convention B's."""
    n = np.array([100, 576, 1000])
    assert np.allclose(layer_cost(LLAVA_1_5_7B, n, "macs"), layer_cost(LLAVA_1_5_7B, n, "B"))


def test_the_reference_code_undercounts_qwen():
    """Facts: convention A as FLOPs is 2.47x too low for Qwen2.5-VL-7B at 1,000 tokens."""
    ratio = float(layer_cost(QWEN2_5_VL_7B, 1000) / layer_cost(QWEN2_5_VL_7B, 1000, "A"))
    assert ratio == pytest.approx(2.47, abs=0.02)


def test_kv_bytes_of_a_dense_llava():
    """0.5 MiB a token in fp16: 2 x 32 layers x 4096 x 2 bytes."""
    assert kv_bytes(LLAVA_1_5_7B, np.full(32, 576)) == 576 * 2 * 32 * 4096 * 2
    assert kv_bytes(INTERNVL3_8B, np.full(28, 10)) == 10 * 2 * 28 * 512 * 2


def test_errors_name_the_value():
    with pytest.raises(InvalidValueError, match="32 layers, got 31"):
        decoder_cost(LLAVA_1_5_7B, np.full(31, 576))
    with pytest.raises(UnknownNameError, match="Did you mean 'flops'"):
        layer_cost(LLAVA_1_5_7B, 10, "flop")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="multiple of kv_heads"):
        DecoderSpec(8, 1, 3, 2, 4, 16)
