"""Loading prints nothing, and leaves the process's settings as they were."""

import threading

import pytest
import torch
import transformers as hf
from transformers.utils import logging as library

from paretoprune.compression.text import load_causal
from paretoprune.errors import BrokenFileError
from paretoprune.testing.models import decoder_sizes, tiny_llava
from paretoprune.zoo.load import load_adapter, without_loading_bar


@pytest.fixture(autouse=True)
def bars():
    """Bars are on, as in a user's process."""
    library.enable_progress_bar()
    yield
    library.set_tqdm_hook(None)


def text_model(folder):
    tokenizer = tiny_llava().tokenizer
    hf.LlamaForCausalLM(hf.LlamaConfig(**decoder_sizes(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_causal


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_loading_a_model_prints_no_bar(kind, tmp_path, capfd):
    load, name = load_adapter, "mini-llava"
    if kind == "text":
        load, name = text_model(tmp_path), str(tmp_path)
    capfd.readouterr()
    load(name)
    assert capfd.readouterr().err == ""
    assert library.is_progress_bar_enabled()
    assert library.set_tqdm_hook(None) is None


def test_a_hook_of_the_users_is_there_again_also_after_a_failure(tmp_path):
    def own(factory, args, kwargs):
        return library.EmptyTqdm(*args, **kwargs)

    library.set_tqdm_hook(own)
    load_adapter("mini-llava")
    with pytest.raises(BrokenFileError):
        load_adapter(str(tmp_path))
    with pytest.raises(ZeroDivisionError), without_loading_bar():
        _ = 1 / 0
    assert library.set_tqdm_hook(None) is own


def test_other_threads_keep_their_bars():
    shown = []

    def own(factory, args, kwargs):
        shown.append(threading.current_thread().name)
        return library.EmptyTqdm(*args, **kwargs)

    library.set_tqdm_hook(own)
    with without_loading_bar():
        assert list(library.tqdm([1, 2])) == [1, 2]
        other = threading.Thread(target=lambda: list(library.tqdm([1])), name="other")
        other.start()
        other.join()
    assert shown == ["other"]


def test_loading_leaves_torch_as_it_was():
    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed()
    load_adapter("mini-llava", dtype="bfloat16")
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), torch.initial_seed()) == before
