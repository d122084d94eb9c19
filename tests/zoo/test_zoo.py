"""The embedded checkpoints and their training."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paretoprune.adapters.load import load_adapter
from paretoprune.errors import BrokenFileError, UnknownNameError, UnsupportedError
from paretoprune.zoo.blueprints import BLUEPRINTS
from paretoprune.zoo.catalogue import ACCURACIES, checkpoint_directory, describe, names
from paretoprune.zoo.packing import draw_batch, packed_mask
from paretoprune.zoo.recipe import Recipe
from paretoprune.zoo.train import Trainee, train

TINY = Recipe(
    steps=4, batch=2, questions=10, warmup_steps=2, report_every=2, checkpoint_every=2
)  # fmt: skip


def test_mini_llava_is_a_small_fp16_checkpoint():
    folder = checkpoint_directory("mini-llava")
    assert names() == ["mini-llava"]
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 4e6
    assert {t.dtype for t in load_file(weights).values()} == {torch.float16}
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "LlavaForConditionalGeneration"
    ]


def test_recorded_accuracies_meet_the_bar():
    found = json.loads((checkpoint_directory("mini-llava") / ACCURACIES).read_text())
    assert found["overall"] >= 0.85
    assert min(found["families"].values()) >= 0.60
    assert found["dropped_after_first"] < 0.55 * found["overall"]
    assert found["swapped"] < found["majority"] + 0.02


def test_recorded_accuracies_are_those_of_the_weights(mini):
    """On a sample of the same split, within four standard errors."""
    folder = checkpoint_directory("mini-llava")
    found = json.loads((folder / ACCURACIES).read_text())
    size = len(mini.heldout.samples)
    error = (found["overall"] * (1 - found["overall"]) / size) ** 0.5
    assert abs(mini.heldout.dense_score - found["overall"]) < 4 * error + 1e-9
    assert "held-out exact match" in describe()[0]


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
    ("name", "grid"), [(name, grid) for name, b in BLUEPRINTS.items() for grid in b.sizes]
)
@torch.no_grad()
def test_packed_training_sees_what_evaluation_sees(name, grid):
    """Block-diagonal mask, restarted positions: each question answered from the picture alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = BLUEPRINTS[name].build()
    rng = np.random.default_rng(0)
    batch = draw_batch(
        adapter.tokenizer, rng, size=2, questions=10, most_things=7, degraded_share=0, grid=grid
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


def test_models_that_do_not_load_are_one_sentence(tmp_path):
    with pytest.raises(UnknownNameError, match=r"known: mini-llava\. Did you mean 'mini-llava'"):
        load_adapter("mini-lava")
    with pytest.raises(BrokenFileError, match="does not exist"):
        load_adapter("./nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BrokenFileError, match="cannot load model"):
        load_adapter(str(empty))
    (empty / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedError, match="family 'llama', which no adapter takes"):
        load_adapter(str(empty))


def test_truncated_weights_are_one_sentence(tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(checkpoint_directory("mini-llava"), copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BrokenFileError, match="cannot load model") as error:
        load_adapter(str(copy))
    assert "\n" not in str(error.value)


def test_pickled_weights_are_not_read(tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(checkpoint_directory("mini-llava"), copy)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(BrokenFileError, match="cannot load model"):
        load_adapter(str(copy))
