"""What holds for every registered pruner on every family: generation, batches, FLOPs, bf16."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.prompts import teacher_forced
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.cost import layer_cost
from paretoprune.deploy.views import pruned
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.base import NEEDS, DropCounts, choosing_cost
from paretoprune.pruning.decoder import Executed, _merged, run_population
from paretoprune.pruning.tokens import enter
from paretoprune.registry import pruners
from paretoprune.schedules import KeepSchedule, keep_counts
from paretoprune.tasks.base import Video
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import (
    QUESTIONS,
    question_batch,
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_qwen2_5_vl,
)
from paretoprune.testing.pruners import context_of, select_each

NAMES = pruners.names()
RANKING = [name for name in NAMES if not pruners.load(name).withdraws]
FAMILIES = [tiny_llava, tiny_internvl, tiny_qwen2_5_vl]


def schedule(pruner, layers=4):
    """A drop as early as the pruner can, and another."""
    row = np.ones(layers)
    row[pruner.first_layer :] = 0.6
    row[2:] = 0.3
    return pruner.fitted(row)


def mixed_inputs(adapter):
    """Pictures of different sizes where the family keeps them, padded on the left."""
    first, second, third = random_pictures(3)
    return adapter.inputs([first, second[:48], third[:64]], list(QUESTIONS), padding_side="left")


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_pruned_model_answers_as_the_pruned_decoder(name, make):
    """`generate` of the view, and its first step against teacher forcing, sizes mixed."""
    adapter, pruner = make(), pruners.load(name)()
    inputs = mixed_inputs(adapter)
    row = schedule(pruner)
    try:
        prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    except UnsupportedError:
        assert make is tiny_qwen2_5_vl
        return
    (leaf,) = run_population(adapter, prefill, row[None], pruner)
    expected = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
    view = pruned(adapter.model, list(row), pruner=pruner)
    out = view.generate(
        **inputs, max_new_tokens=2, do_sample=False, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert_close(out.logits[0], expected.to(out.logits[0].dtype), 1e-6)
    assert torch.isfinite(out.logits[1]).all()


@torch.no_grad()
def test_videos_and_several_pictures_in_generation():
    """Where the tokens stand is known from what `generate` hands to the tower."""
    adapter = tiny_qwen2_5_vl()
    first, second, third = random_pictures(3)
    clip = Video([third[:32, :64]] * 4, fps=2.0)
    inputs = adapter.inputs([[first, clip], second[:48]], list(QUESTIONS[:2]), padding_side="left")
    row = [0.5, 0.5, 0.25, 0.25]
    pruner = pruners.load("uniform")()
    prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    (leaf,) = run_population(adapter, prefill, np.array([row]), pruner)
    expected = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
    out = pruned(adapter.model, row, pruner=pruner).generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert_close(out.logits[0], expected.to(out.logits[0].dtype), 1e-6)


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("name", ["uniform", "fastervlm"])
@torch.no_grad()
def test_beams_see_the_same_picture(name, make):
    """`generate` repeats rows but makes features once."""
    adapter, pruner = make(), pruners.load(name)()
    if make is tiny_qwen2_5_vl and "vision_encoder" in pruner.needs:
        return
    view = pruned(adapter.model, [0.5, 0.5, 0.25, 0.25], pruner=pruner)
    inputs = mixed_inputs(adapter)
    one = view.generate(**inputs, max_new_tokens=1, do_sample=False)
    several = view.generate(
        **inputs, max_new_tokens=1, num_beams=2, num_return_sequences=1, do_sample=False
    )
    assert torch.equal(one, several)


@pytest.mark.parametrize("name", RANKING)
@torch.no_grad()
def test_the_answer_has_no_say(name):
    """With different answers behind the prompt, the same tokens stay."""
    adapter, pruner = tiny_llava(), pruners.load(name)()
    pictures, prompts = random_pictures(2), [QUESTIONS[1]] * 2
    chosen = []
    for answer in ("red", "star ring r1"):
        inputs, end, _ = teacher_forced(adapter, pictures, prompts, [answer] * 2)
        prefill = prefill_for(adapter, inputs, end, needs=pruner.needs)
        context = context_of(adapter, prefill, pruner.first_layer, pruner)
        chosen.append(select_each(pruner, context, 6).indices.sort(1).values)
    assert torch.equal(*chosen)


@pytest.mark.parametrize("name", RANKING)
@torch.no_grad()
def test_low_precision_and_every_count(name):
    """Counts 0, 1, all but one and all, of one batch, in bf16."""
    adapter, pruner = tiny_llava(dtype=torch.bfloat16), pruners.load(name)()
    prefill = prefill_for(adapter, question_batch(adapter, 4), needs=pruner.needs)
    context = context_of(adapter, prefill, 2, pruner)
    found = pruner.select(context, torch.tensor([0, 1, 15, 16]))
    assert all(len(set(row)) == 16 for row in found.indices.tolist())
    for share in (1 / 16, 15 / 16):
        row = np.ones((1, 4))
        row[:, 1:] = share
        (leaf,) = run_population(adapter, prefill, row, pruner)
        assert leaf.tokens.visual.sum(1).tolist() == [round(share * 16)] * 4
        assert torch.isfinite(leaf.tokens.hidden).all()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_sample_without_pictures_changes_nothing(name):
    """Its row of a batch holds text only; the others choose as ever."""
    adapter, pruner = tiny_llava(), pruners.load(name)()
    prefill = prefill_for(adapter, question_batch(adapter), needs=pruner.needs)
    rows = schedule(pruner)[None]
    (whole,) = run_population(adapter, prefill, rows, pruner)
    visual = prefill.visual.clone()
    visual[1] = False
    (leaf,) = run_population(adapter, replace(prefill, visual=visual), rows, pruner)
    assert torch.isfinite(leaf.tokens.hidden).all()
    ends = prefill.prompt_end[:, None]
    assert_close(leaf.tokens.at(ends)[[0, 2]], whole.tokens.at(ends)[[0, 2]])


BOUNDS = {"fitprune", "sparsevlm", "aim"}
"""They count text before the picture as the question's: a few tokens too many."""


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("name", RANKING)
@torch.no_grad()
def test_flops_are_those_of_choosing_and_merging(name, layer):
    adapter, pruner = tiny_llava(patch=12), pruners.load(name)()
    if layer < pruner.first_layer or pruner.withdraws:
        return
    prefill = prefill_for(adapter, question_batch(adapter, 1), needs=pruner.needs)
    for kept in (1, 23, 60):
        context = context_of(adapter, prefill, layer, pruner)
        tokens = context.hidden.shape[1]
        # the counter knows this attention kernel only
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            found = pruner.select(context, torch.tensor([kept]))
            if found.weights is not None:
                inside = enter(prefill, context.sample)
                _merged(inside, context.visual, context.visual[:, :kept], found.weights)
        run = counter.get_total_flops()
        counted = float(
            pruner.cost(
                DropCounts(adapter.spec, layer, np.array(tokens), np.array(64), np.array(kept))
            )
        )
        if name in BOUNDS:
            assert 0.85 * counted <= run <= counted
        else:
            assert run == counted


@torch.no_grad()
def test_sparsevlm_pays_for_its_raters_once():
    adapter, pruner = tiny_llava(patch=12), pruners.load("sparsevlm")()
    prefill = adapter.prefill(question_batch(adapter, 1))
    context = context_of(adapter, prefill, 0)
    with FlopCounterMode(display=False) as counter:
        pruner.save(context)
    tokens = context.hidden.shape[1]
    all_kept = DropCounts(adapter.spec, 0, np.array(tokens), np.array(64), np.array(64))
    counted = float(pruner.entry_cost(all_kept))
    assert 0.8 * counted <= counter.get_total_flops() <= counted


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_schedule_costs_what_is_executed(name):
    """The problem's FLOPs and the decoder's meter agree where nothing is padded."""
    adapter, pruner = tiny_llava(), pruners.load(name)()
    inputs = adapter.inputs(random_pictures(2), [QUESTIONS[0]] * 2)
    prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    row, meter = schedule(pruner), Executed()
    list(run_population(adapter, prefill, row[None], pruner, executed=meter))
    visual = prefill.visual.sum(1).numpy()
    text = prefill.valid.sum(1).numpy() - visual
    kept = keep_counts(row, visual)
    layers = float(layer_cost(adapter.spec, kept + text).sum())
    choosing = float(choosing_cost(pruner, adapter.spec, text, visual, kept).sum())
    assert meter.flops == pytest.approx(layers + choosing)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_for_those_that_have_a_soft_form(name):
    adapter, pruner = tiny_llava(dtype=torch.float32), pruners.load(name)()
    samples = load_split("search", 8)
    problem = Compression(adapter, samples, Tokens(pruner), allow_no_tradeoff=True)
    if not pruner.relaxable:
        with pytest.raises(UnsupportedError, match=f"{name!r} is not top-k of a score"):
            problem.relaxation()
        return
    ratios = torch.full((8, 4), 0.55, dtype=torch.float64, requires_grad=True)
    losses = problem.relaxation().loss(ratios, np.arange(8), tau=1.0)
    (gradient,) = torch.autograd.grad(losses.sum(), ratios)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", ["fastervlm", "visionzip", "uniform"])
def test_prefills_on_disk_keep_what_pruners_need(name):
    row = exact_candidate(KeepSchedule((0.5,) * 4 + (0.25,) * 4))
    found = [
        load_problem("mini-llava", pruner=name, search_size=8, heldout_size=0, prefill_bytes=limit)
        for limit in (0, 1 << 30)
    ]
    assert found[0].evaluator.batches.disk_bytes > 0
    first, second = (p.evaluate([row])[0].metrics["kl_to_dense"] for p in found)
    assert first == second


@torch.no_grad()
def test_a_pruner_that_remembers_starts_from_kept_dense_states():
    """The reference run keeps dense states before anything is dropped."""
    problem = load_problem("mini-llava", pruner="sparsevlm", search_size=8, heldout_size=0)
    row = KeepSchedule((1.0,) * 3 + (0.25,) * 5)
    (evaluation,) = problem.evaluate([exact_candidate(row)])
    for part in problem.evaluator.batches:
        (leaf,) = run_population(
            problem.adapter, part.prefill, np.asarray(row.ratios)[None], problem.tokens.pruner,
            sample=part.sample,
        )  # fmt: skip
        alone = part.exact(part.log_probabilities(problem.adapter, leaf.tokens))
        assert alone.tolist() == evaluation.outcomes[part.sample.numpy()].astype(bool).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_pruner_declares_has_a_name(name):
    pruner = pruners.load(name)
    assert pruner.name == name
    assert pruner.needs <= set(NEEDS)
    assert not (pruner.merges and pruner.relaxable)


def test_knobs_have_bounds():
    for name in NAMES:
        pruner = pruners.load(name)()
        for knob in pruner.knobs:
            assert pruner.settings[knob.name] == knob.check(pruner.settings[knob.name])
            low, high = (knob.decode(unit) for unit in (0.0, 1.0))
            for value in (low, high):
                assert type(pruner)(**{knob.name: value}).settings[knob.name] == value
    with pytest.raises(InvalidValueError, match="'important' must be in"):
        pruners.load("vispruner")(important=1.5)
