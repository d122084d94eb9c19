"""Training of the embedded mini-models: repeatable, and on what evaluation sees."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paretoprune.experiments.training.packing import draw_batch, packed_mask
from paretoprune.experiments.training.train import LESSONS, Recipe, Trainee, train
from paretoprune.zoo.blueprints import BLUEPRINTS

TINY = Recipe(
    steps=4, batch=2, questions=10, warmup_steps=2, report_every=2, checkpoint_every=2
)  # fmt: skip


def test_every_mini_model_has_a_lesson():
    assert set(LESSONS) == set(BLUEPRINTS)


@pytest.mark.slow
def test_training_twice_gives_the_same_weights_and_resuming_changes_nothing(tmp_path):
    def stop_at(step):
        def on_step(done, loss):
            if done == step:
                raise KeyboardInterrupt

        return on_step

    train("mini-llava", TINY, tmp_path / "a", lambda figures: None)
    with pytest.raises(KeyboardInterrupt):
        train("mini-llava", TINY, tmp_path / "b", lambda figures: None, stop_at(3))
    assert (tmp_path / "b" / "training_state.safetensors").exists()
    train("mini-llava", TINY, tmp_path / "b", lambda figures: None)
    one = load_file(tmp_path / "a" / "model.safetensors")
    two = load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not (tmp_path / "a" / "training_state.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "grid"), [(name, grid) for name, lesson in LESSONS.items() for grid in lesson.sizes]
)
@torch.no_grad()
def test_packed_training_sees_what_evaluation_sees(name, grid):
    """Block-diagonal mask, restarted positions: each question answered from the picture alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = BLUEPRINTS[name].build()
    rng = np.random.default_rng(0)
    batch = draw_batch(
        adapter.tokenizer, rng, size=2, questions=10, max_things=7, degraded_share=0, grid=grid
    )
    packed, _, _ = Trainee(adapter)(batch)
    answered = batch.labels != -100
    at = 0
    for row in range(2):
        for segment in range(1, int(batch.segments[row].max()) + 1):
            inside = batch.segments[row] == segment
            text = adapter.tokenizer.decode(batch.tokens[row][inside])
            alone = adapter.model(**adapter.inputs([batch.pictures[row]], [text])).logits[0]
            expected = alone[-int(inside.sum()) :][answered[row][inside]]
            assert torch.allclose(packed[at : at + len(expected)], expected, atol=1e-4)
            at += len(expected)
    assert at == len(packed)


def test_the_packed_mask_by_hand():
    mask = packed_mask(torch.tensor([[1, 1, 2, 0]]), prefix=2)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
