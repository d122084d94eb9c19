"""A ratio above 0 keeps a token of each sample and, with `per_picture`, of each picture.

Survivors are counted by hand: from the places that layers of a KV cache hold, or that a leaf has.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.prompts import visual_mask
from paretoprune.adapters.token_geometry import picture_numbers, picture_runs
from paretoprune.cost import layer_cost
from paretoprune.deploy.views import pruned
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, PruningContext, Selection, choosing_cost
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.operators import make_pruner
from paretoprune.pruning.pictures import led_by_each, with_each_picture
from paretoprune.pruning.score_soft import run_score_soft
from paretoprune.pruning.soft import run_soft
from paretoprune.registry import pruners
from paretoprune.schedules import KeepSchedule, keep_counts
from paretoprune.tasks.base import Video
from paretoprune.testing.models import (
    QUESTIONS,
    question_batch,
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)

NAMES = pruners.names()
RANKING = [name for name in NAMES if not pruners.load(name).withdraws]
RELAXABLE = [name for name in RANKING if pruners.load(name)().relaxable]
OTHERS = ("fastv", "vispruner", "tome", "uniform")
"""Of a score, of the vision encoder, merging, of the grid: for the families beside LLaVA."""
FEW = [1.0, 0.5, 0.1, 0.05]
"""Of 48 tokens 48, 24, 5 and 2: fewer than three pictures."""


def several(adapter, *, side="left"):
    """Prompts of three pictures, of none and of two, padded."""
    a, b, c, d, e = random_pictures(5)
    shows = [[a, b, c], [], [d, e]]
    return adapter.inputs(shows, list(QUESTIONS), padding_side=side)


def by_hand(adapter, inputs):
    """Picture of each token, counted off by how many tokens the picture has alone: [B][T]."""
    ids = inputs["input_ids"]
    each = int(
        visual_mask(adapter, adapter.inputs([random_pictures(1)[0]], ["x"])["input_ids"]).sum()
    )
    found = []
    for row in visual_mask(adapter, ids).tolist():
        seen, numbers = 0, []
        for visual in row:
            numbers.append(seen // each if visual else -1)
            seen += visual
        found.append(numbers)
    return found


def survivors(numbers, places, valid):
    """How many tokens of each picture are at `places` [n], as a dictionary."""
    found = {number: 0 for number in numbers if number >= 0}
    for place, there in zip(places.tolist(), valid.tolist(), strict=True):
        if there and place < len(numbers) and numbers[place] >= 0:
            found[numbers[place]] += 1
    return found


def generated(view, inputs, **options):
    """The cache of one new token, of greedy decoding."""
    out = view.generate(
        **inputs, **{"max_new_tokens": 1, "do_sample": False, **options},
        return_dict_in_generate=True,
    )  # fmt: skip
    return out.past_key_values


# --- counts


@settings(max_examples=40)
@given(
    ratios=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    samples=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), min_size=1, max_size=5),
)
def test_counts_are_rounded_shares_but_never_too_few(ratios, samples):
    ratios = sorted(ratios, reverse=True)
    visual = np.array([tokens for tokens, _ in samples])
    pictures = np.array([min(tokens, shown) for tokens, shown in samples])
    for least in (None, pictures):
        found = keep_counts(np.array(ratios), visual, least)
        assert (np.diff(found, axis=0) <= 0).all()
        for layer, ratio in enumerate(ratios):
            for sample, tokens in enumerate(visual):
                fewest = min(tokens, 1 if least is None else pictures[sample])
                share = int(np.floor(ratio * tokens + 0.5 + 1e-9))
                assert found[layer, sample] == (max(share, fewest) if ratio > 0 else 0)


@pytest.mark.parametrize("row", [(1.0, 0.0, 1e-10), (1.0, 1.5 / 16 - 2e-10, 1.5 / 16 + 5e-10)])
def test_counts_never_rise_where_ratios_rise_by_rounding(row):
    """Schedules may rise by 1e-9; a layer behind one without visual tokens counted one."""
    counts = KeepSchedule(row).counts(16)
    assert (np.diff(counts) <= 0).all()


@settings(max_examples=40)
@given(levels=st.integers(1, 72), more=st.integers(0, 200), step=st.integers(0, 72))
def test_a_lattice_of_no_more_levels_than_tokens_keeps_its_counts(levels, more, step):
    """So what was searched on one picture per sample is what it was: steps of 8 tokens, mostly."""
    ratio = min(step, levels) / levels
    tokens = levels + more
    (count,) = KeepSchedule((ratio,)).counts(tokens)
    assert count == int(np.floor(ratio * tokens + 0.5 + 1e-9))


@torch.no_grad()
def test_four_pictures_of_1_4_6_and_144_tokens_in_one_batch():
    """Silent wrong result 3: 0, 0, 1 and 14 tokens were left."""
    adapter = tiny_qwen2_5_vl()
    adapter.image_processor.size = {"shortest_edge": 256, "longest_edge": 192**2}
    sizes = [(16, 16), (32, 32), (32, 48), (192, 192)]
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    inputs = adapter.inputs(shown, [QUESTIONS[0]] * 4)
    visual = visual_mask(adapter, inputs["input_ids"])
    assert visual.sum(1).tolist() == [1, 4, 6, 144]
    row = [1.0, 0.1, 0.1, 0.1]
    view = pruned(adapter.model, row)
    layer = generated(view, inputs).layers[-1]
    left = [visual[i, layer.positions[i][layer.valid[i]]].sum().item() for i in range(4)]
    assert left == [1, 1, 1, 14]
    (leaf,) = run_population(
        adapter, adapter.prefill(inputs), np.array([row]), make_pruner("fastv")
    )
    assert leaf.tokens.visual.sum(1).tolist() == left
    assert leaf.left_out.tolist() == [0, 0, 0, 0]


LOSERS = {"fastv", "cdpruner", "fastervlm", "divprune", "visionzip"}
"""Those that without the option leave the white picture with none, at the lower ratio at least."""


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_two_pictures_in_one_prompt_are_both_seen_to_the_end(name, mini):
    """Silent wrong result 3: several pruners left one of them with none."""
    adapter, pruner = mini.adapter, make_pruner(name)
    white = np.full_like(mini.samples[0].image, 255)
    inputs = adapter.inputs([[mini.samples[0].image, white]], [mini.samples[0].prompt])
    (numbers,) = by_hand(adapter, inputs)
    row = pruner.fitted(np.array([1.0] + [0.1] * 7))
    lost = False
    for ratios in (row, np.where(row < 1, row / 10, row)):
        for option in (False, True):
            view = pruned(adapter.model, list(ratios), pruner, per_picture=option)
            for ratio, layer in zip(ratios, generated(view, inputs).layers, strict=True):
                found = survivors(numbers, layer.positions[0], layer.valid[0])
                expected = max(2, round(ratio * 288)) if ratio else 0
                assert sum(found.values()) == expected
                if option:
                    assert not ratio or min(found.values()) >= 1
                else:
                    lost |= min(found.values()) == 0
    assert lost or name not in LOSERS


# --- every pruner, in the decoder and in the view


@pytest.mark.parametrize(
    ("name", "make"),
    [("fastv", tiny_llava_next), *((name, tiny_llava) for name in NAMES)]
    + [(name, make) for name in OTHERS for make in (tiny_internvl, tiny_qwen2_5_vl)],
)
@torch.no_grad()
def test_each_picture_keeps_a_token_in_every_layer(name, make):
    adapter, pruner = make(), make_pruner(name)
    inputs = several(adapter)
    numbers = by_hand(adapter, inputs)
    row = pruner.fitted(np.array(FEW))
    try:
        prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    except UnsupportedError:
        assert make is tiny_qwen2_5_vl
        return
    view = pruned(adapter.model, list(row), pruner, per_picture=True)
    cache = generated(view, inputs)
    for ratio, layer in zip(row, cache.layers, strict=True):
        for sample, counted in enumerate(numbers):
            found = survivors(counted, layer.positions[sample], layer.valid[sample])
            whole = sum(number >= 0 for number in counted)
            least = len(found) if ratio > 0 else 0
            assert sum(found.values()) == max(int(ratio * whole + 0.5 + 1e-9), least)
            assert not ratio or min(found.values(), default=1) >= 1
    # the decoder that evaluates holds the same tokens, alone and in a population
    others = pruner.fitted(
        np.array([[1, 1, 0.5, 0.05], [1, 0.5, 0.1, 0], FEW, [1, 0.5, 0.5, 0.05]])
    )
    for leaf in run_population(adapter, prefill, others, pruner, per_picture=True):
        for member in leaf.candidates:
            (alone,) = run_population(
                adapter, prefill, others[member][None], pruner, per_picture=True
            )
            ends = prefill.prompt_end[:, None]
            assert torch.allclose(leaf.tokens.at(ends), alone.tokens.at(ends), atol=1e-9)
            assert (leaf.left_out == alone.left_out).all()
            for sample, counted in enumerate(numbers):
                found = survivors(counted, leaf.tokens.origin[sample], leaf.tokens.validity[sample])
                assert leaf.left_out[sample] == list(found.values()).count(0)
                assert not others[member, -1] or 0 not in found.values()
            if member == 2:
                held = cache.layers[-1]
                for sample in range(3):
                    mine = leaf.tokens.origin[sample][leaf.tokens.validity[sample]]
                    theirs = held.positions[sample][held.valid[sample]]
                    assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_with_one_picture_each_the_option_changes_nothing(name):
    adapter, pruner = tiny_llava(), make_pruner(name)
    prefill = prefill_for(adapter, question_batch(adapter), needs=pruner.needs)
    row = pruner.fitted(np.array([FEW]))
    found = [
        next(run_population(adapter, prefill, row, pruner, per_picture=option)).tokens
        for option in (False, True)
    ]
    assert torch.equal(found[0].hidden, found[1].hidden)
    assert torch.equal(found[0].origin, found[1].origin)


@pytest.mark.parametrize("name", RANKING)
@torch.no_grad()
def test_flops_are_counted_with_what_the_pictures_keep(name):
    """The meter, the analytic count and PyTorch's agree on a prompt of three pictures."""
    adapter, pruner = tiny_llava(), make_pruner(name)
    inputs = adapter.inputs([random_pictures(3)], [QUESTIONS[0]])
    prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    row, meter = pruner.fitted(np.array(FEW)), Executed()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        list(run_population(adapter, prefill, row[None], pruner, executed=meter, per_picture=True))
    visual = prefill.visual.sum(1).numpy()
    text = prefill.valid.sum(1).numpy() - visual
    kept = keep_counts(row, visual, np.array([3]))
    assert kept[-1, 0] == 3
    priced = float(layer_cost(adapter.spec, kept + text).sum())
    priced += float(choosing_cost(pruner, adapter.spec, text, visual, kept).sum())
    assert meter.flops == pytest.approx(priced)
    # a few pruners count text before the picture as the question's: a bound
    assert 0.93 * priced <= counter.get_total_flops() <= priced * (1 + 1e-9)


@torch.no_grad()
def test_beams_and_padding_change_no_picture():
    adapter = tiny_llava()
    view = pruned(adapter.model, FEW, per_picture=True)
    for side, times in (("left", 2), ("right", 1)):
        inputs = several(adapter, side=side)
        numbers = by_hand(adapter, inputs)
        if times > 1:
            cache = generated(view, inputs, num_beams=times, num_return_sequences=times)
        else:
            cache = view(**inputs, use_cache=True).past_key_values
        layer = cache.layers[-1]
        assert len(layer.positions) == 3 * times
        for row in range(3 * times):
            found = survivors(numbers[row // times], layer.positions[row], layer.valid[row])
            assert 0 not in found.values()


# --- the soft decoder


@pytest.mark.parametrize("name", RELAXABLE)
def test_the_hard_mask_is_the_pruned_decoder_with_quotas(name):
    adapter, pruner = tiny_llava(), make_pruner(name)
    inputs = several(adapter, side="right")
    with torch.no_grad():
        prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    for row in ([1.0, 0.5, 0.1, 0.03], [1.0, 0.3, 0.02, 0.0], [1.0, 1.0, 0.04, 0.04]):
        ratios = torch.tensor(row, dtype=torch.float64, requires_grad=True)
        soft = run_soft(adapter, prefill, ratios.expand(3, -1), pruner, tau=1.0, per_picture=True)
        ends = prefill.prompt_end[:, None]
        with torch.no_grad():
            (leaf,) = run_population(
                adapter, prefill, pruner.fitted(np.array([row])), pruner, per_picture=True
            )
        assert torch.allclose(soft.at(ends), leaf.tokens.at(ends), atol=1e-9)
        (gradient,) = torch.autograd.grad(soft.at(ends).square().sum(), ratios)
        assert torch.isfinite(gradient).all()
        assert gradient[1:].abs().max() > 0


@pytest.mark.parametrize("row", [[1.0, 0.04, 0.01, 0.01], [1.0, 0.01, 0.01, 0.0]])
@torch.no_grad()
def test_the_hard_mask_of_a_tiny_ratio_keeps_the_best_of_each_sample(row):
    adapter, pruner = tiny_llava(), make_pruner("fastv")
    prefill = adapter.prefill(question_batch(adapter))
    soft = run_soft(adapter, prefill, torch.tensor([row] * 3).double(), pruner, tau=1.0)
    (leaf,) = run_population(adapter, prefill, np.array([row]), pruner)
    ends = prefill.prompt_end[:, None]
    assert leaf.tokens.visual.sum(1).tolist() == [int(row[-1] > 0)] * 3
    assert torch.allclose(soft.at(ends), leaf.tokens.at(ends), atol=1e-9)


def test_gradients_agree_with_finite_differences_with_quotas():
    adapter = tiny_llava()
    inputs = several(adapter, side="right")
    with torch.no_grad():
        prefill = adapter.prefill(inputs)

    def figure(ratios):
        tokens = run_soft(
            adapter, prefill, ratios.expand(3, -1), make_pruner("fastv"), tau=2.0,
            straight_through=False, per_picture=True,
        )  # fmt: skip
        logits = adapter.head(tokens.at(prefill.prompt_end[:, None]))
        return logits.log_softmax(-1)[..., 7].sum()

    ratios = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(figure(ratios), ratios)
    step = 2e-4
    for layer in range(1, 4):
        moved = torch.zeros(4, dtype=torch.float64)
        moved[layer] = step
        with torch.no_grad():
            difference = (figure(ratios + moved) - figure(ratios - moved)) / (2 * step)
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.02, abs=0.02)


@pytest.mark.parametrize("noise", [None, np.arange(3)])
def test_masked_decoders_hold_a_token_of_each_picture(noise):
    """Also where masks are drawn, and where they are those of the score."""
    adapter = tiny_llava()
    inputs = several(adapter, side="right")
    numbers = by_hand(adapter, inputs)
    prefill = adapter.prefill(inputs)
    ratios = torch.tensor([[1.0, 0.06, 0.03, 0.01]] * 3, dtype=torch.float64)
    fastv = make_pruner("fastv")
    with torch.no_grad():
        found = [
            run_soft(adapter, prefill, ratios, fastv, tau=1.0, noise=noise, per_picture=True),
            run_score_soft(adapter, prefill, ratios, fastv, temperature=0.1, per_picture=True),
        ]
    for tokens in found:
        for sample, counted in enumerate(numbers):
            left = survivors(counted, tokens.origin[sample], tokens.keep_mask[sample])
            assert 0 not in left.values()


# --- which picture a token belongs to


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "make",
    [tiny_llava, tiny_llava_next, tiny_llava_onevision, tiny_internvl, tiny_qwen2_5_vl],
)
@torch.no_grad()
def test_a_family_says_which_picture_a_token_belongs_to(make, side):
    """Pictures of different sizes, side by side: each has as many tokens as it has alone."""
    adapter = make()
    a, b, c, d = random_pictures(4)
    shows = [[a, b[:48]], [], [c[:, :48]], [d, a[:48, :48], b]]
    inputs = adapter.inputs(shows, [QUESTIONS[i % 3] for i in range(4)], padding_side=side)
    visual = visual_mask(adapter, inputs["input_ids"])
    numbers = prefill_for(adapter, inputs).extras["picture"][..., 0]
    for row, shown in enumerate(shows):
        found = numbers[row][visual[row]]
        sizes = [int((found == number).sum()) for number in range(len(shown))]
        assert sum(sizes) == len(found)
        assert (found.diff() >= 0).all()
        if make is tiny_llava_onevision and len(shown) > 1:
            continue  # several pictures are shown without tiles
        alone = [
            int(visual_mask(adapter, adapter.inputs([one], ["x"])["input_ids"]).sum())
            for one in shown
        ]
        assert sizes == alone
    assert bool((numbers[~visual] == -1).all())


@torch.no_grad()
def test_a_video_is_one_and_a_picture_beside_it_another():
    adapter = tiny_qwen2_5_vl()
    first, second = random_pictures(2)
    clip = Video([second[:32, :64]] * 4, fps=2.0)
    inputs = adapter.inputs([[first, clip, first[:48]]], [QUESTIONS[0]])
    visual = visual_mask(adapter, inputs["input_ids"])[0]
    numbers = prefill_for(adapter, inputs).extras["picture"][0, :, 0][visual]
    assert torch.bincount(numbers).tolist() == [36, 16, 18]
    # without text between them they are told apart by their kind
    kinds = torch.tensor([[0, 1, 1, 2, 2, 2, 0, 1]])
    assert picture_runs(kinds > 0, kinds).tolist() == [[-1, 0, 0, 1, 1, 1, -1, 2]]


@pytest.mark.parametrize(
    ("sizes", "visual", "expected"),
    [
        ([2, 1], ["VV.V"], ["00.1"]),
        ([1, 2], ["VVV."], ["011."]),
        ([2, 1, 3], ["VVV...", "VVV..."], ["001...", "000..."]),
        ([2, 1], ["VVV.", "VVV."], ["001.", "001."]),  # rows repeated, features not
        ([2, 1, 2, 1], ["VVV.", "VVV."], ["001.", "001."]),  # both repeated
        ([2], ["....", "VV.."], ["....", "00.."]),
        ([3, 3], ["VVVV"], None),
        ([], ["VV.."], None),
        ([4], ["...."], None),
    ],
)
def test_sizes_become_numbers_or_are_refused(sizes, visual, expected):
    mask = torch.tensor([[token == "V" for token in row] for row in visual])
    found = picture_numbers(sizes, mask)
    if expected is None:
        assert found is None
    else:
        assert found.tolist() == [[-1 if n == "." else int(n) for n in row] for row in expected]


# --- the choice itself


@settings(max_examples=40)
@given(data=st.data())
def test_an_order_led_by_each_picture_stays_nested(data):
    """Against a loop: the best of each picture in order, then the others in order."""
    width = data.draw(st.integers(1, 12))
    numbers = data.draw(st.lists(st.integers(0, 4), min_size=width, max_size=width))
    order = data.draw(st.permutations(range(width)))
    among = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    leaders = []
    for token in order:
        if among[token] and numbers[token] not in [numbers[one] for one in leaders]:
            leaders.append(token)
    expected = leaders + [token for token in order if token not in leaders]
    found, marked = led_by_each(
        torch.tensor([order]), torch.tensor([numbers]), torch.tensor([among])
    )
    assert found.tolist() == [expected]
    assert marked[0].nonzero()[:, 0].tolist() == sorted(leaders)


def context_with(numbers):
    """A context of one sample whose tokens belong to these pictures, and nothing else."""
    width = len(numbers)
    index = torch.arange(width)[None]
    everyone = torch.ones(1, width, dtype=torch.bool)
    adapter = tiny_llava()
    context = PruningContext(
        adapter, 1, torch.zeros(1, width, 4), (index, index), None, index, everyone, everyone,
        index, torch.tensor([width - 1]), torch.tensor([0]), None, None,
    )  # fmt: skip
    return replace(context, extras={"picture": torch.tensor(numbers)[None, :, None]})


@pytest.mark.parametrize(
    ("numbers", "chosen", "order", "expected"),
    [
        ([0, 0, 1, 1], [0, 1], None, {0, 2}),  # the first of those that are not ranked
        ([0, 0, 1, 1], [0, 1], [0, 1, 3, 2], {0, 3}),  # its best
        ([0, 0, 1, 1], [0, 2], [0, 1, 2, 3], {0, 2}),  # nothing to do
        ([0, 0, 1, 1, 2], [1, 0, 3], None, {1, 3, 4}),  # the last chosen of one that has more
        ([0, 0, 0, 1, 2], [2, 1, 0], None, {2, 3, 4}),
        ([0, 1, 2, 3], [2, 3], None, {2, 3}),  # fewer tokens than pictures
    ],
)
def test_a_picture_gets_the_place_of_the_last_chosen_one_of_another(
    numbers, chosen, order, expected
):
    given_order = None if order is None else torch.tensor([order])
    selection = Selection(torch.tensor([chosen]), order=given_order)
    found = with_each_picture(context_with(numbers), selection, torch.tensor([len(chosen)]))
    assert set(found.indices[0].tolist()) == expected


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # means: token 2 leaves the mean of 0, 1 and 2; 1 is let go with what was merged into it
        ([[0.5, 0.0, 0.25, 0.25], [0, 1.0, 0, 0]], [[2 / 3, 0, 0, 1 / 3], [0, 0, 1, 0]]),
        ([[0.5, 0.0, 0.5, 0.0], [0, 1.0, 0, 0]], [[1, 0, 0, 0], [0, 0, 1, 0]]),
        # sums keep the rest of the sum
        ([[1.0, 0.0, 1.0, 1.0], [0, 1.0, 0, 0]], [[1, 0, 0, 1], [0, 0, 1, 0]]),
        ([[1.0, 0.0, 0.5, 0.5], [0, 1.0, 0, 0]], [[1, 0, 0, 0.5], [0, 0, 1, 0]]),
    ],
)
def test_a_token_with_a_place_of_its_own_leaves_the_one_it_was_merged_into(weights, expected):
    selection = Selection(torch.tensor([[0, 1]]), torch.tensor([weights]))
    found = with_each_picture(context_with([0, 0, 1, 1]), selection, torch.tensor([2]))
    assert found.indices.tolist() == [[0, 2]]
    assert torch.allclose(found.weights[0], torch.tensor(expected, dtype=torch.float32))


@torch.no_grad()
def test_a_pruner_of_ones_own_needs_to_know_nothing_of_pictures():
    class Last(Pruner):
        name = "last"
        first_layer = 0

        def select(self, context, counts):
            n = int(counts.max())
            return Selection(torch.arange(context.visual.shape[1]).flip(0)[:n].expand(1, -1))

    adapter = tiny_llava()
    inputs = adapter.inputs([random_pictures(3)], [QUESTIONS[0]])
    view = pruned(adapter.model, FEW, Last(), per_picture=True)
    (numbers,) = by_hand(adapter, inputs)
    for layer in generated(view, inputs).layers:
        assert 0 not in survivors(numbers, layer.positions[0], layer.valid[0]).values()
