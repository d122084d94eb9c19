"""The plan of a gradient step: what it says agrees with what a real step does."""

import pytest
import torch
from rich.console import Console
from transformers import LlamaConfig, LlavaConfig
from typer.testing import CliRunner

from paretoprune.compression import step_trial
from paretoprune.compression.step_plan import plan_step, step_flops
from paretoprune.compression.step_trial import StepTrial
from paretoprune.cost import DecoderSpec
from paretoprune.cost.flops import LLAVA_1_5_7B
from paretoprune.errors import BrokenFileError, InvalidValueError, UnsupportedError
from paretoprune.experiments.bench import gradient_step
from paretoprune.search.gradient.adaptive import AdaptiveSearch
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.gradient.vispco import Vispco
from paretoprune.testing.models import tiny_llava, tiny_qwen2_5_vl


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


@pytest.mark.slow
def test_a_real_step_holds_what_is_planned(monkeypatch):
    """From two and three layers on the meta device to five real ones, embeddings and all."""
    settings = ((1, True), (4, False))  # samples at a time, checkpoint
    monkeypatch.setattr(gradient_step, "SETTINGS", settings)
    spec = DecoderSpec(128, 5, 4, 2, 32, 344)
    found = gradient_step.run(Console(quiet=True), spec=spec, batch=4, repeats=1)
    assert len(found["figures"]) == len(settings)
    for figure in found["figures"]:
        planned = figure["planned_bytes"] - found["weights"]
        assert 0.85 * planned < figure["measured_bytes"] - found["weights"] < 1.1 * planned


@pytest.mark.parametrize("checkpoint", [False, True])
def test_every_further_layer_adds_the_same(monkeypatch, checkpoint):
    """What two and three layers say of six is what six hold."""
    model = tiny_llava(patch=12, layers=6).model.requires_grad_(False).to("meta")
    trial, meta = (
        StepTrial(model, torch.float64, checkpoint, tokens_leave=True),
        torch.device("meta"),
    )
    few, layer = trial.memory(meta, 2, 64, 9)
    monkeypatch.setattr(step_trial, "MIN_TRIAL_LAYERS", 6)
    whole, _ = trial.memory(meta, 2, 64, 9)
    assert layer > 0
    assert whole == pytest.approx(few + 4 * layer, rel=0.03)


def test_a_planned_layer_costs_time_and_its_own_weights_alone():
    model = tiny_qwen2_5_vl().model.to("meta")
    trial = StepTrial(model, torch.float64, checkpoint=True, tokens_leave=False)
    few, layer = trial.seconds(torch.device("cpu"), 2, 16, 9)
    assert few > 0
    assert layer >= 0
    assert all(p.device.type == "meta" for p in model.parameters())


@pytest.mark.slow
def test_memory_grows_with_the_micro_batch_and_not_with_the_batch(tmp_path):
    model = llava_7b(tmp_path)
    one, two, more = (
        plan_step(model, LagrangianSearch(batch=b, micro_batch=m), teraflops=1.0)
        for b, m in ((16, 1), (16, 2), (32, 1))
    )
    assert two.saved == pytest.approx(2 * one.saved, rel=0.05)
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


@pytest.mark.parametrize("most", [3, 0])
def test_what_does_not_fit_is_timed_with_fewer_rows_or_said(monkeypatch, most):
    """A GPU too small for a whole micro-batch of even a few layers."""
    tried = []

    def tight(self, device, rows, visual, text):
        tried.append(rows)
        if rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2.0, 0.5

    monkeypatch.setattr(StepTrial, "seconds", tight)
    strategy = LagrangianSearch(batch=16, micro_batch=8)
    if most:
        plan = plan_step("mini-llava", strategy)
        assert tried == [8, 4, 2]
        assert plan.step_seconds == pytest.approx(16 / 2 * (2.0 + 6 * 0.5))
        return
    with pytest.raises(UnsupportedError, match="with one sample do not fit on cpu"):
        plan_step("mini-llava", strategy)
    assert tried == [8, 4, 2, 1]


def test_a_device_that_is_not_there_is_named_before_anything_is_built():
    with pytest.raises(InvalidValueError, match="no device 'cud' here; there are: cpu"):
        plan_step("mini-llava", device="cud")


@pytest.mark.slow
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
