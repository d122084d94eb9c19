"""On a GPU values, gradients and searches are as on the CPU. Skipped where there is none."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from paretoprune import load_problem
from paretoprune.cli import app
from paretoprune.search.gradient.relaxation import loss_and_slope

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SAMPLES = 12


@pytest.fixture(scope="module", params=["mini-llava", "mini-internvl", "mini-qwen2.5-vl"])
def both(request):
    """The same problem on the CPU and on the GPU."""
    return [
        load_problem(request.param, search_size=64, heldout_size=0, device=device)
        for device in ("cpu", "cuda")
    ]


def rows(count=SAMPLES, layers=8):
    """Falling keep ratios, `[count, layers]`."""
    drawn = np.random.default_rng(0).uniform(0.05, 1.0, (count, layers))
    return torch.from_numpy(np.sort(drawn, axis=1)[:, ::-1].copy())


def test_scores_and_divergences_are_those_of_the_cpu(both):
    space = both[0].space()
    rng = np.random.default_rng(1)
    candidates = [both[0].candidate(space.sample(rng)) for _ in range(12)]
    here, there = (problem.evaluate(candidates) for problem in both)
    equal = np.mean([a.outcomes == b.outcomes for a, b in zip(here, there, strict=True)])
    assert equal > 0.99
    for one, other in zip(here, there, strict=True):
        assert one.objectives["compute"] == other.objectives["compute"]


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("mask", ["rank", "score"])
def test_a_mask_alone_needs_a_gradient_pytorch_188302(both, mask, checkpoint):
    """On CUDA the first masked layer's backward pass failed, or read what was not there.

    Rows whose ranking hangs on the last bit may differ: most must agree closely.
    """
    found = []
    for problem in both:
        relaxed = problem.relaxation()
        relaxed = relaxed.checkpointed() if checkpoint else relaxed
        found.append(
            loss_and_slope(
                relaxed, rows(), np.arange(SAMPLES), tau=2.0, mask=mask, straight_through=False
            )
        )
    (loss, slope), (other, their_slope) = found
    assert np.median(((loss - other).abs() / loss.clamp(min=1e-3)).numpy()) < 1e-2
    alike = torch.cosine_similarity(slope, their_slope, dim=1)
    assert float(alike.median()) > 0.99
    assert float((alike > 0.9).double().mean()) > 0.7
    assert (their_slope.abs().sum(1) > 0).all()


@pytest.mark.parametrize("strategy", ["gradient", "adaptive", "vispco:width=8", "hybrid"])
def test_a_search_runs_twice_the_same(tmp_path, strategy):
    small = ["--budget", "14", "--search-size", "32", "--heldout-size", "16", "--device", "cuda"]
    fronts = []
    for number in range(2):
        out = tmp_path / str(number)
        asked = ["search", strategy, *small, "--out", str(out)]
        found = CliRunner().invoke(app, asked, catch_exceptions=False)
        assert found.exit_code == 0, found.output
        fronts.append((out / "front.csv").read_text())
    assert fronts[0] == fronts[1]
    said = json.loads((tmp_path / "0" / "provenance.json").read_text())
    assert torch.cuda.get_device_name(0) in json.dumps(said)


def test_a_step_in_bf16_points_the_same_way(both):
    """The soft decoder in bf16 on the GPU against float32 on the CPU."""
    name = both[0].model_name
    half = load_problem(name, search_size=64, heldout_size=0, device="cuda", dtype="bfloat16")
    found = [
        loss_and_slope(
            problem.relaxation(), rows(), np.arange(SAMPLES), tau=2.0, straight_through=False
        )[1]
        for problem in (both[0], half)
    ]
    assert float(torch.cosine_similarity(*found, dim=1).median()) > 0.9
