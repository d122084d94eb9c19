"""The relaxed loss reads only the samples of a step: in any order, from memory or from disk."""

import numpy as np
import pytest
import torch

from paretoprune.problems.load import load_problem


@pytest.fixture(scope="module")
def problem():
    return load_problem(search_size=24, heldout_size=0)


def loss(problem, ratios, samples):
    with torch.no_grad():
        return problem.relaxation().loss(ratios, np.array(samples), tau=2.0)


def test_each_row_meets_its_own_sample_and_its_own_teacher(problem):
    """Samples of different lengths, out of order, one of them twice: as if each were alone."""
    rng = np.random.default_rng(0)
    samples = [int(i) for i in rng.permutation(24)[:11]]
    samples.append(samples[3])
    assert len({len(problem.samples[i].prompt.split()) for i in samples}) > 2
    ratios = torch.from_numpy(np.sort(rng.random((12, 8)), axis=1)[:, ::-1].copy())
    ratios[:, 0] = 1.0
    together = loss(problem, ratios, samples)
    alone = torch.cat([loss(problem, ratios[i : i + 1], [s]) for i, s in enumerate(samples)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert together.std() > 0.1  # rows differ, so that an exchange would show


def test_prefills_on_disk_give_the_same_loss(problem):
    stored = load_problem(search_size=24, heldout_size=0, prefill_bytes=0)
    ratios = torch.full((4, 8), 0.5, dtype=torch.float64)
    ratios[:, 0] = 1.0
    samples = [17, 2, 9, 4]
    assert torch.equal(loss(problem, ratios, samples), loss(stored, ratios, samples))
