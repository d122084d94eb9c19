"""A batch of samples that needs too much memory is halved; the figures stay."""

import numpy as np
import pytest
import torch

from paretoprune.problems import population


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        MemoryError(),
    ],
)
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
        assert (one.outcomes == other.outcomes).all()
        assert one.objectives == pytest.approx(dict(other.objectives))


def test_what_does_not_fit_alone_is_not_tried_again(mini, monkeypatch):
    def never(adapter, prefill, *arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(population, "run_population", never)
    with pytest.raises(torch.OutOfMemoryError):
        mini.evaluate([mini.candidate(mini.space().sample(np.random.default_rng(0)))])


def test_other_errors_are_not_taken_for_it():
    assert not population.is_out_of_memory(RuntimeError("shapes do not match"))
    assert not population.is_out_of_memory(ValueError("out of memory"))
