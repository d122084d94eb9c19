"""The plan of a gradient step: what it says agrees with what a real step does."""

import pytest
import torch
from transformers import LlamaConfig, LlavaConfig
from typer.testing import CliRunner

from paretoprune.adapters.base import decoder_spec
from paretoprune.cost.flops import LLAVA_1_5_7B
from paretoprune.errors import BrokenFileError, UnsupportedError
from paretoprune.problems.step_plan import plan_step, saved_bytes, step_flops
from paretoprune.search.adaptive import AdaptiveSearch
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.lagrangian import LagrangianSearch
from paretoprune.search.vispco import Vispco
from paretoprune.testing.models import tiny_llava


def llava_7b(folder):
    """LLaVA-1.5-7B's dimensions as a configuration, without weights."""
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=32, vocab_size=32064,
    )  # fmt: skip
    LlavaConfig(text_config=text).save_pretrained(folder)
    return str(folder)


def test_a_7b_model_is_planned_from_its_configuration_alone(tmp_path):
    model = llava_7b(tmp_path)
    plan = plan_step(model, teraflops=400.0)
    assert plan.parameters == pytest.approx(7.06e9, rel=0.01)
    assert plan.weights == 2 * plan.parameters
    assert plan.visual == 576
    dense = step_flops(LLAVA_1_5_7B, LagrangianOptions(batch=16), 640, 0.5)
    assert plan.step_flops == pytest.approx(dense)
    assert plan.step_seconds == pytest.approx(dense / 400e12)
    small = plan_step(model, LagrangianSearch(checkpoint=True, micro_batch=1), teraflops=400.0)
    assert small.peak < 15 * 2**30 < plan.peak
    assert small.step_flops == pytest.approx(plan.step_flops * 5 / 4)


def test_what_is_kept_is_what_a_real_layer_keeps():
    """The same count on real tensors of a real model, on the CPU: not more, and nearly as much."""
    adapter = tiny_llava(patch=12)
    decoder = adapter.decoder.requires_grad_(False)
    dtype = next(decoder.parameters()).dtype
    planned = saved_bytes(decoder.to("meta"), 2, 40, dtype)
    decoder = tiny_llava(patch=12).decoder.requires_grad_(False)
    spec = decoder_spec(decoder)
    hidden = torch.randn(2, 40, spec.hidden, dtype=dtype, requires_grad=True)
    bias = torch.zeros(2, 1, 40, 40, dtype=dtype, requires_grad=True)
    turn = torch.ones(2, 40, spec.head_dim, dtype=dtype)
    kept = {}
    weights = {p.data_ptr() for p in decoder.layers[0].parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        decoder.layers[0](hidden, attention_mask=bias, position_embeddings=(turn, turn))
    real = sum(kept.values())
    assert real <= planned * 1.02
    assert real >= planned * 0.5


def test_memory_grows_with_the_micro_batch_and_not_with_the_batch(tmp_path):
    model = llava_7b(tmp_path)
    one, two, more = (
        plan_step(model, LagrangianSearch(batch=b, micro_batch=m), teraflops=1.0)
        for b, m in ((16, 1), (16, 2), (32, 1))
    )
    assert two.saved == pytest.approx(2 * one.saved, rel=0.01)
    assert more.saved == one.saved
    assert more.step_flops == 2 * one.step_flops


def test_a_predictor_is_sized_by_hidden_width_and_costs_next_to_nothing(tmp_path):
    """Counted: a few thousand parameters for a mini-model, and below 1 % of dense for any."""
    large, mini = llava_7b(tmp_path), "mini-llava"
    for strategy in (AdaptiveSearch(), Vispco()):
        small, big = (plan_step(m, strategy, teraflops=1.0) for m in (mini, large))
        assert 1_000 < small.predictor < 20_000
        assert big.predictor > 10 * small.predictor
        assert 0 < big.deciding < 0.01
        assert 0 < small.deciding < 0.01
    assert plan_step(mini, teraflops=1.0).predictor is None


def test_steps_of_each_strategy_run_as_many_passes_as_they_say():
    """Soft and hard forward, two for the way back; VisPCO's masks leave no token out."""
    plan = {
        type(s): plan_step("mini-llava", s, teraflops=1.0)
        for s in (LagrangianSearch(batch=8), AdaptiveSearch(batch=8), Vispco(batch=8))
    }
    ours, theirs = plan[LagrangianSearch].step_flops, plan[Vispco].step_flops
    assert plan[AdaptiveSearch].step_flops == ours
    assert theirs == pytest.approx(ours * 3 / (4 * 0.5))
    again = plan_step("mini-llava", Vispco(batch=8, checkpoint=True), teraflops=1.0)
    assert again.step_flops == pytest.approx(theirs * 4 / 3)
    assert again.saved < plan[Vispco].saved


def test_speed_is_measured_where_it_is_not_given():
    plan = plan_step("mini-llava", dtype="float32")
    assert plan.teraflops > 0
    assert plan.parameters < 5e6


def test_what_is_no_configuration_is_named(tmp_path):
    with pytest.raises(BrokenFileError, match="cannot read the configuration"):
        plan_step(str(tmp_path))


def test_the_command_plans_and_stops(tmp_path, monkeypatch):
    from paretoprune.cli import app

    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    asked = ["search", "gradient:micro_batch=1,checkpoint=true", "--plan"]
    found = runner.invoke(app, asked, catch_exceptions=False)
    assert found.exit_code == 0
    assert "seconds per step" in found.output
    assert list(tmp_path.iterdir()) == []
    for name in ("adaptive", "hybrid", "vispco"):
        found = runner.invoke(app, ["search", name, "--plan"], catch_exceptions=False)
        assert "seconds per step" in found.output
        assert ("predictor" in found.output) == (name != "hybrid")
    with pytest.raises(UnsupportedError, match="such as 'gradient' and 'adaptive', not 'tpe'"):
        runner.invoke(app, ["search", "tpe", "--plan"], catch_exceptions=False)
