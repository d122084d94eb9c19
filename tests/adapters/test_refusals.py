"""Kinds of decoder: what is accepted is exact, everything else is refused, by both doors alike."""

import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from typer.testing import CliRunner

from paretoprune.adapters.generic import GenericAdapter
from paretoprune.adapters.llava import LlavaAdapter
from paretoprune.adapters.model_access import decoder_spec
from paretoprune.adapters.prompts import configured_tokens
from paretoprune.adapters.refusals import refuse_decoder, refuse_model, require_window
from paretoprune.adapters.verify import masked_logits, verify
from paretoprune.adapters.views import view_of
from paretoprune.cli import app
from paretoprune.deploy.model_check import pruned_difference
from paretoprune.deploy.views import pruned
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.continuation import Continuation
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.testing.models import decoder_sizes, random_pictures, randomised, tiny_llava
from paretoprune.zoo.load import adapter_class, load_adapter

from .shrunk import FAMILIES, LAYERS, MAPPING, picture_inputs, shrunk, shrunk_config

KEEP = [1.0] + [0.5] * (LAYERS - 1)


def both_doors(model, folder):
    """What `pruned` says of a model, after checking that `load_adapter` says the same."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UnsupportedError) as refused:
        pruned(model, KEEP)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.save_pretrained(folder)
    with pytest.raises(UnsupportedError) as again:
        load_adapter(str(folder))
    assert str(again.value) == str(refused.value)
    assert "\n" not in str(refused.value)
    assert "; " in str(refused.value)  # what to do stands behind it
    return str(refused.value)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("qwen3_5_moe", "linear_attention, where each token changes a state"),
        ("gemma4", "sliding_attention, where a token attends only to the positions in a window"),
        ("dots3_note", "indexed_attention, where an indexer chooses"),
        ("lfm3_vl", "conv, where each token is mixed with its neighbours"),
        ("llama4", "chunked_attention, where a token attends only to its own chunk"),
        ("aria", "has mixtures of experts in its decoder layers"),
        ("kimi_k25", "has mixtures of experts in its decoder layers"),
        ("chameleon", "merges pictures inside of its decoder"),
        ("qwen3_vl", "adds vision features to hidden states again"),
        ("molmo2", "makes attention masks of its own"),
        ("ernie4_5_vl_moe", "sends a token to other experts if it is visual"),
        ("hunyuan_vl", "applies query_layernorm to queries and keys"),
        ("mllama", "lets text attend to pictures in cross-attention layers"),
        ("kosmos-2.5", "takes no pixel_values"),
        ("pi0", "does not generate text"),
        ("blip-2", "has no decoder with layers, norm and rotary_emb"),
    ],
)
def test_a_decoder_of_another_kind_is_refused_in_one_sentence(tmp_path, family, reason):
    assert reason in both_doors(shrunk(family, torch.float32), tmp_path)


def test_linear_attention_is_not_said_to_depend_on_a_distance():
    with pytest.raises(UnsupportedError) as error:
        pruned(shrunk("qwen3_5"), KEEP)
    assert "distance" not in str(error.value)
    assert "window" not in str(error.value)


def decoder_in_llava(kind, attn="sdpa", **changes):
    """A tiny LLaVA around any decoder: which one stands in its configuration, not in its class."""
    own = tiny_llava()
    text = hf.CONFIG_MAPPING[kind](**{**decoder_sizes(own.tokenizer), **changes})
    config = hf.LlavaConfig(
        vision_config=own.model.config.vision_config, text_config=text,
        image_token_index=own.visual_token_ids[0], vision_feature_layer=-1, image_seq_length=16,
    )  # fmt: skip
    kind = hf.LlavaForConditionalGeneration
    return randomised(kind, config, torch.float64, attn, 0), own


EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "num_key_value_heads": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("qwen3_moe", EXPERTS, "mixtures of experts"),
        ("youtu", LATENT, "latent attention"),
        ("gemma2", {"head_dim": 12, "attn": "eager"}, "sliding_attention"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, "sliding_attention"),
        ("olmo2", {}, "no input_layernorm"),
        ("phi3", {}, "no q_proj and no k_proj"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 0]}, "pruners rank by differs"),
        ("gpt_neox", {}, "has no norm"),
        ("ministral3", {}, "cannot be run on hidden states, rotary tables and a mask alone"),
    ],
)
def test_a_family_with_an_adapter_of_its_own_is_refused_by_its_decoder(kind, changes, reason):
    model, _ = decoder_in_llava(kind, **changes)
    with pytest.raises(UnsupportedError, match=re.escape(reason)) as error:
        pruned(model, KEEP)
    assert "\n" not in str(error.value)


@torch.no_grad()
def require_exact(model):
    """Keep-all equals dense, and pruned equals the model with the dropped tokens' keys masked."""
    family = adapter_class(model.config.model_type)
    adapter = family(view_of(model), None, None)
    adapter.positions = lambda inputs: None  # both count as the family does
    inputs = picture_inputs(adapter)
    dense = model(**copy.deepcopy(inputs), use_cache=False).logits
    scale = dense.abs().max()
    whole = pruned(model, [1.0] * LAYERS)(**copy.deepcopy(inputs)).logits
    assert (whole - dense).abs().max() <= 1e-9 * scale
    out = pruned(model, KEEP)(**copy.deepcopy(inputs))
    nothing = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    kept = [nothing.scatter(1, layer.positions, True) for layer in out.past_key_values.layers]
    assert [int(k[0].sum()) for k in kept] == [15, 11, 11, 11]
    masked = masked_logits(adapter, copy.deepcopy(inputs), kept)
    last = kept[-1]
    # eager attention normalises in float32
    assert (out.logits - masked)[last].abs().max() <= 1e-5 * scale
    assert (out.logits - dense)[last].abs().max() > 1e-2 * scale


@pytest.mark.parametrize("family", ["vipllava", "idefics2", "qwen2_vl", "glm4v", "ovis2"])
def test_what_is_accepted_is_exact(family):
    require_exact(shrunk(family))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exact_or_refused_by_both_doors(family, tmp_path):
    try:
        model = shrunk(family)
    except (ImportError, TypeError, ZeroDivisionError, ValueError) as error:
        pytest.skip(f"no small model of it can be built here: {error}")
    try:
        pruned(model, KEEP)
    except UnsupportedError:
        # evolla, which takes proteins, is no model for load_adapter in the first place
        if model.device.type != "meta" and family != "evolla":
            both_doors(model, tmp_path)
    else:
        require_exact(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_configurations_alone_raise_nothing_else(family):
    """Before weights are read; gemma3n, whose tower needs timm, is refused here."""
    kind = MAPPING[hf.CONFIG_MAPPING[family]]
    kind = kind[0] if isinstance(kind, tuple) else kind
    try:
        refuse_model(kind, hf.CONFIG_MAPPING[family]())
    except UnsupportedError:
        return
    assert family not in ("gemma3n", "gemma3", "qwen3_5", "dots3_note", "paligemma")


def test_granite_4_has_another_name_for_deepstack():
    """Its Q-Former cannot be built small, so its decoder stands for it."""
    from transformers.models.granite4_vision import modeling_granite4_vision as module

    decoder = module.Granite4VisionTextModel(shrunk_config("granite4_vision").text_config)
    with pytest.raises(UnsupportedError, match="DeepStack"):
        refuse_decoder(shrunk("idefics3"), decoder)


def test_a_decoder_that_takes_something_unknown_is_refused():
    model = shrunk("idefics3")

    class Told(type(model.model.text_model)):
        def forward(self, *args, mood=None, **kwargs):
            return super().forward(*args, **kwargs)

    model.model.text_model.__class__ = Told
    with pytest.raises(UnsupportedError, match="takes mood besides hidden states"):
        pruned(model, KEEP)


@pytest.mark.parametrize("sizes", [{}, {"intermediate_size": [64] * LAYERS}])
def test_dimensions_that_a_configuration_lacks_are_named(sizes):
    config = SimpleNamespace(num_attention_heads=4, hidden_size=48, num_hidden_layers=4, **sizes)
    with pytest.raises(UnsupportedError, match="does not say intermediate_size as one number"):
        decoder_spec(SimpleNamespace(config=config, layers=[None]))


def test_a_decoder_with_fewer_layers_than_its_configuration_says_is_refused():
    """Cut by hand, as pruning of depth does; the schedule had a layer that was not there."""
    model = tiny_llava().model
    decoder = model.model.language_model
    decoder.layers = decoder.layers[: LAYERS - 1]
    with pytest.raises(UnsupportedError, match="num_hidden_layers 4, but 3 layers"):
        pruned(model, KEEP)


def test_a_configuration_without_an_image_token_is_refused_before_the_first_forward(monkeypatch):
    monkeypatch.setattr(GenericAdapter, "token_names", ("no_such_token",))
    with pytest.raises(UnsupportedError, match="names no image token"):
        pruned(shrunk("idefics3"), KEEP)
    bare = SimpleNamespace(config=SimpleNamespace())
    with pytest.raises(UnsupportedError, match="names no image token"):
        configured_tokens(bare, LlavaAdapter.token_names)


# --- windows


def windowed(window):
    """A tiny LLaVA around a Mistral with a sliding window and no layer types."""
    model, own = decoder_in_llava("mistral", sliding_window=window, head_dim=12)
    return type(own)(model, own.tokenizer, own.image_processor)


@pytest.mark.parametrize(
    ("kind", "changes", "window"),
    [
        ("mistral", {"sliding_window": 32}, 32),
        ("mistral", {"sliding_window": None}, None),
        ("mistral", {"sliding_window": 32, "layer_types": ["full_attention"] * LAYERS}, 32),
        ("starcoder2", {"sliding_window": 32}, 32),
        ("qwen2", {"sliding_window": 32, "use_sliding_window": False}, None),
        ("llama", {}, None),
    ],
)
def test_a_window_is_read_from_the_configuration(kind, changes, window):
    model, own = decoder_in_llava(kind, **changes)
    assert type(own)(model, None, None).window == window
    pruned(model, KEEP)


@torch.no_grad()
def test_a_window_that_is_not_reached_changes_nothing():
    adapter = windowed(64)
    assert adapter.window == 64
    assert pruned_difference(adapter) < 1e-5
    inputs = adapter.inputs([random_pictures(1)[0]], ["read the sign ?"])
    view = pruned(adapter.model, KEEP)
    room = 64 - inputs["input_ids"].shape[1]
    out = view.generate(**inputs, max_new_tokens=room + 1, do_sample=False)
    whole = pruned(windowed(None).model, KEEP)
    free = whole.generate(**inputs, max_new_tokens=room + 1, do_sample=False)
    assert torch.equal(out, free)


@torch.no_grad()
def test_generate_does_not_cross_a_window():
    adapter = windowed(64)
    inputs = adapter.inputs([random_pictures(1)[0]], ["read the sign ?"])
    room = 64 - inputs["input_ids"].shape[1]
    with pytest.raises(UnsupportedError, match="65 tokens is longer than the sliding window"):
        pruned(adapter.model, KEEP).generate(**inputs, max_new_tokens=room + 2, do_sample=False)


@torch.no_grad()
@pytest.mark.parametrize("by_config", [False, True])
def test_generate_is_refused_before_its_first_token_where_it_may_cross_a_window(by_config):
    """It was refused in the middle of the answer, which was lost."""
    adapter = windowed(64)
    pictures, prompts = [random_pictures(1)[0]] * 2, ["?", "read the sign ?"]
    inputs = adapter.inputs(pictures, prompts)
    room = 65 - int(inputs["attention_mask"].sum(1).max())
    view, steps = pruned(adapter.model, KEEP), []

    def note(ids, scores):
        steps.append(ids.shape[1])
        return scores

    def generate(new):
        limit = {"max_new_tokens": new, "do_sample": False}
        given = {"generation_config": hf.GenerationConfig(**limit)} if by_config else limit
        view.generate(**inputs, **given, logits_processor=[note])

    with pytest.raises(UnsupportedError, match="65 tokens is longer than the sliding window"):
        generate(room + 1)
    assert not steps
    generate(room)
    assert len(steps) == room


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_count_towards_a_window(side):
    adapter = windowed(24)
    pictures, prompts = [random_pictures(1)[0]] * 2, ["?", "read the sign ?"]
    inputs = adapter.inputs(pictures, prompts, padding_side=side)
    longest = int(inputs["attention_mask"].sum(1).max())
    assert longest <= 24
    pruned(adapter.model, KEEP)(**inputs)
    adapter.prefill(inputs)
    short = windowed(longest - 1)
    for run in (short.prefill, lambda given: pruned(short.model, KEEP)(**given)):
        with pytest.raises(UnsupportedError, match=f"a sequence of {longest} tokens is longer"):
            run(inputs)


@torch.no_grad()
def test_an_evaluation_does_not_decode_across_a_window():
    adapter = windowed(32)
    prefill = adapter.prefill(adapter.inputs(random_pictures(1), ["read the sign ?"]))
    (leaf,) = run_population(adapter, prefill, np.array([KEEP]), FastV(), with_path=True)
    end = prefill.prompt_end
    room = 32 - int(end[0]) - 1
    tables = tuple(x.repeat(1, 3, 1)[:, : room + 1] for x in prefill.rotary)
    more = Continuation(adapter, leaf, torch.arange(1), last=end, prompt_end=end, following=tables)
    more.next(torch.full((1, room), 5))
    with pytest.raises(UnsupportedError, match="33 tokens is longer than the sliding window"):
        more.next(torch.full((1, 1), 5))


def test_a_window_shorter_than_any_prompt_is_refused():
    with pytest.raises(UnsupportedError, match="sliding window of .*, 4 positions"):
        pruned(windowed(4).model, KEEP)


def test_idefics2_has_its_default_window():
    adapter = GenericAdapter(shrunk("idefics2"), None, None)
    assert adapter.window == 4096
    with pytest.raises(UnsupportedError, match="4097 tokens is longer than the sliding window"):
        require_window(adapter, torch.ones(1, 4097, dtype=torch.bool))
    require_window(adapter, torch.ones(1, 4096, dtype=torch.bool))


# --- the trial


def test_pruned_runs_one_layer_of_each_kind():
    """A model of many layers is tried by one of them, and left as it was."""
    own = tiny_llava(layers=6)
    run = []
    for number, layer in enumerate(own.model.model.language_model.layers):
        layer.mlp.register_forward_hook(lambda *_, n=number: run.append(n))
    pruned(own.model, [1.0] * 6)
    assert set(run) == {0}
    assert [len(m._forward_hooks) for m in own.model.modules()].count(1) == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_the_trial_leaves_a_model_as_it_was(dtype, attn):
    """Weights, configuration, mode, random numbers; also a model that is being trained."""
    model = tiny_llava(dtype=dtype, attn=attn).model.train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    config, state = model.config.to_dict(), torch.get_rng_state()
    names = [set(vars(module)) for module in model.modules()]
    pruned(model, [1.0] * LAYERS)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert (model.config.to_dict(), names) == (config, [set(vars(m)) for m in model.modules()])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_the_trial_finds_a_wrong_rule_that_keep_all_does_not_notice():
    """A layer that adds its number of tokens gives its own output until some are dropped."""
    own = tiny_llava()
    kind = type(own.model.model.language_model.layers[0])

    class Counting(kind):
        def forward(self, hidden_states, **kwargs):
            out = super().forward(hidden_states, **kwargs)
            return out + hidden_states.shape[1]

    for layer in own.model.model.language_model.layers:
        layer.__class__ = Counting
    with pytest.raises(UnsupportedError, match="layer 0, with half of the tokens dropped, differs"):
        pruned(own.model, KEEP)


def test_check_model_reports_a_wrong_pruned_forward(monkeypatch):
    import paretoprune.deploy.model_check as module

    found = module.check_model("mini-llava")
    assert found.problem is None
    assert found.pruned < 1e-5
    monkeypatch.setattr(module, "pruned_difference", lambda adapter: 0.5)
    assert "keys masked" in module.check_model("mini-llava").problem
    done = CliRunner().invoke(app, ["check-model", "mini-llava"])
    assert done.exit_code == 2
    assert "Not usable" in done.output


def test_check_model_says_in_one_sentence_what_a_configuration_lacks(tmp_path):
    shrunk("qwen3_5_moe", torch.float32).save_pretrained(tmp_path)
    done = CliRunner().invoke(app, ["check-model", str(tmp_path)])
    assert isinstance(done.exception, UnsupportedError)


# --- ViP-LLaVA


def vipllava(dtype=torch.float64):
    own = tiny_llava()
    config = hf.VipLlavaConfig(
        vision_config=own.model.config.vision_config, text_config=own.model.config.text_config,
        image_token_index=own.visual_token_ids[0], image_seq_length=16,
        vision_feature_layer=[-1, 0],
    )  # fmt: skip
    model = randomised(hf.VipLlavaForConditionalGeneration, config, dtype, "sdpa", 0)
    return type(own)(model, own.tokenizer, own.image_processor)


def test_vipllava_is_searched_and_pruned_though_its_configuration_lacks_a_strategy(tmp_path):
    adapter = vipllava(torch.float32)
    assert not hasattr(adapter.model.config, "vision_feature_select_strategy")
    for part in (adapter.model, adapter.tokenizer, adapter.image_processor):
        part.save_pretrained(tmp_path)
    loaded = load_adapter(str(tmp_path))
    assert loaded.family == "llava"
    assert verify(loaded).problem is None
    assert pruned_difference(loaded) < 1e-5
    inputs = loaded.inputs([random_pictures(1)[0]], ["read the sign ?"])
    assert loaded.grid(inputs).shape == (16, 3)
    keep = [1.0] * 2 + [0.5] * (LAYERS - 2)
    with torch.no_grad():
        for pruner in ("fastv", "fastervlm", "visionzip", "uniform", "divprune"):
            pruned(loaded.model, keep, pruner)(**inputs)
