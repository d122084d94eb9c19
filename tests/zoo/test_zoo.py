"""The embedded checkpoints, and loading by name or folder."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from paretoprune.compression.load import load_problem
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.zoo.blueprints import BLUEPRINTS
from paretoprune.zoo.catalogue import ACCURACIES, checkpoint_directory, describe, names
from paretoprune.zoo.load import load_adapter

ARCHITECTURES = {
    "mini-llava": "LlavaForConditionalGeneration",
    "mini-qwen2.5-vl": "Qwen2_5_VLForConditionalGeneration",
    "mini-internvl": "InternVLForConditionalGeneration",
}


def accuracies(name):
    return json.loads((checkpoint_directory(name) / ACCURACIES).read_text())


def test_every_blueprint_is_embedded():
    assert set(names()) == set(BLUEPRINTS) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_mini_models_are_small_fp16_checkpoints_of_real_classes(name):
    folder = checkpoint_directory(name)
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 4e6
    assert {t.dtype for t in load_file(weights).values()} == {torch.float16}
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [ARCHITECTURES[name]]
    assert not (folder / "training_state.safetensors").exists()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recorded_accuracies_meet_the_bar(name):
    found = accuracies(name)
    assert found["samples"] >= 4096
    assert found["overall"] >= (0.85 if name == "mini-llava" else 0.80)
    assert min(found["families"].values()) >= 0.55
    assert found["dropped_after_first"] < 0.55 * found["overall"]
    assert found["swapped"] < found["majority"] + 0.02


def test_every_family_of_mini_llava_meets_the_bar():
    assert min(accuracies("mini-llava")["families"].values()) >= 0.60


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recorded_accuracies_are_those_of_the_weights(name):
    """On a part of the same split, within four standard errors."""
    found = accuracies(name)
    problem = load_problem(name, search_size=128, heldout_size=0, split="heldout")
    error = (found["overall"] * (1 - found["overall"]) / 128) ** 0.5
    assert abs(problem.dense_score - found["overall"]) < 4 * error + 1e-9
    (line,) = [line for line in describe() if line.startswith(f"{name} ")]
    assert "held-out exact match" in line


def test_models_of_dynamic_resolution_see_two_sizes():
    """The mini-model's own task is the default, and both sizes are answered."""
    problem = load_problem("mini-qwen2.5-vl", search_size=64, heldout_size=0)
    assert sorted(set(problem.evaluator.visual_tokens.tolist())) == [96, 144]
    for size in (96, 144):
        assert problem.dense_outcomes[problem.evaluator.visual_tokens == size].mean() > 0.7


def test_models_that_do_not_load_are_one_sentence(tmp_path):
    with pytest.raises(UnknownNameError, match=r"mini-internvl, .*Did you mean 'mini-llava'"):
        load_adapter("mini-lava")
    with pytest.raises(BrokenFileError, match="does not exist"):
        load_adapter("./nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BrokenFileError, match="cannot load model"):
        load_adapter(str(empty))
    (empty / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedError, match="type 'llama', which is no vision-language model"):
        load_adapter(str(empty))


def test_truncated_weights_are_one_sentence(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint_directory("mini-llava"), copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BrokenFileError, match="cannot load model") as error:
        load_adapter(str(copy))
    assert "\n" not in str(error.value)


def _broken(tmp_path, name, change):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint_directory(name), copy)
    change(copy)
    with pytest.raises(BrokenFileError, match="cannot load model") as error:
        load_adapter(str(copy))
    assert "\n" not in str(error.value)
    return str(error.value)


def _edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_broken_configurations_are_one_sentence(tmp_path):
    def of_another_type(copy):
        _edit(copy / "config.json", '"num_hidden_layers": 8', '"num_hidden_layers": "x"')

    assert "num_hidden_layers" in _broken(tmp_path, "mini-llava", of_another_type)


def test_an_image_token_that_the_tokenizer_lacks_is_one_sentence(tmp_path):
    def elsewhere(copy):
        _edit(copy / "config.json", '"image_token_index": 4', '"image_token_index": 77777')

    assert "has token 77777 for pictures" in _broken(tmp_path, "mini-llava", elsewhere)


def test_a_checkpoint_without_tokenizer_is_one_sentence(tmp_path):
    def without(copy):
        for file in copy.glob("tokenizer*"):
            file.unlink()

    _broken(tmp_path, "mini-qwen2.5-vl", without)


def test_a_device_that_is_not_there_is_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a graphics card")
    for device in ("cuda", "cuda:7", "abacus", "meta"):
        with pytest.raises(InvalidValueError, match=f"no device '{device}' here; there are: cpu"):
            load_adapter("mini-llava", device=device)


@pytest.mark.parametrize("value", [None, 2.5, [], {}, object()])
def test_a_device_or_dtype_of_another_type_is_one_sentence(value):
    for name in ("device", "dtype"):
        with pytest.raises(ParetopruneError, match=name):
            load_adapter("mini-llava", **{name: value})


def test_pickled_weights_are_not_read(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint_directory("mini-llava"), copy)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(BrokenFileError, match="cannot load model"):
        load_adapter(str(copy))
