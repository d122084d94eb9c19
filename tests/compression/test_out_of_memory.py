"""What needs too much memory at once is halved; the figures stay."""

import numpy as np
import pytest
import torch

from paretoprune.compression import population
from paretoprune.core.out_of_memory import is_out_of_memory
from paretoprune.search.gradient.relaxation import loss_and_slope
from paretoprune.testing.agreement import assert_same

out_of_memory = pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        MemoryError(),
    ],
)


@out_of_memory
def test_halves_of_samples_give_the_same(mini, monkeypatch, error):
    whole = population.run_population
    most = 20
    sizes = []

    def tight(adapter, prefill, *arguments, **options):
        sizes.append(len(prefill.hidden))
        if len(prefill.hidden) > most:
            raise error
        return whole(adapter, prefill, *arguments, **options)

    space = mini.space()
    rng = np.random.default_rng(0)
    candidates = [mini.candidate(space.sample(rng)) for _ in range(3)]
    expected = mini.evaluate(candidates)
    monkeypatch.setattr(population, "run_population", tight)
    found = mini.evaluate(candidates)
    assert max(sizes) > most >= min(sizes)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_what_does_not_fit_alone_is_not_tried_again(mini, monkeypatch):
    def never(adapter, prefill, *arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(population, "run_population", never)
    with pytest.raises(torch.OutOfMemoryError):
        mini.evaluate([mini.candidate(mini.space().sample(np.random.default_rng(0)))])


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


@out_of_memory
def test_halves_of_a_gradient_step_give_the_same(mini, monkeypatch, error):
    relaxed = mini.relaxation()
    whole, most, sizes = relaxed.loss, 3, []

    def tight(ratios, samples, **options):
        sizes.append(len(ratios))
        if len(ratios) > most:
            raise error
        return whole(ratios, samples, **options)

    ratios = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, (8, relaxed.layers)))
    expected = loss_and_slope(relaxed, ratios, np.arange(8), tau=2.0)
    monkeypatch.setattr(relaxed, "loss", tight)
    found = loss_and_slope(relaxed, ratios, np.arange(8), tau=2.0)
    assert max(sizes) > most >= min(sizes)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_a_single_row_that_is_too_large_and_other_errors_are_raised(mini, monkeypatch):
    relaxed = mini.relaxation()
    ratios = torch.full((4, relaxed.layers), 0.5, dtype=torch.float64)
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("a bug")):

        def tight(*_, error=error, **__):
            raise error

        monkeypatch.setattr(relaxed, "loss", tight)
        with pytest.raises(type(error), match=str(error)):
            loss_and_slope(relaxed, ratios, np.arange(4), tau=2.0)
