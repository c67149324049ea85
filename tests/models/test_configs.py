"""Configs: files of Hugging Face, what is refused, the published sizes of the defaults, and dropout."""

import json
import re

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from examples.models import bert, gpt2, llama, lstm_lm, read_config, resnet, unet, vit

# ---- sizes ---------------------------------------------------------------------------------------

PUBLISHED = {
    "resnet18": (lambda: resnet.resnet(18), 11_689_512),
    "resnet34": (lambda: resnet.resnet(34), 21_797_672),
    "resnet50": (lambda: resnet.resnet(50), 25_557_032),
    "resnet101": (lambda: resnet.resnet(101), 44_549_160),
    "resnet152": (lambda: resnet.resnet(152), 60_192_808),
    "vit-base-patch16-224": (lambda: vit.ViT(vit.ViTConfig()), 86_567_656),
    "gpt2": (lambda: gpt2.GPT2(gpt2.GPT2Config()), 124_439_808),
    "bert-base-uncased": (lambda: bert.Bert(bert.BertConfig()), 109_482_240),
    "tinyllama-1.1b": (lambda: llama.Llama(llama.LlamaConfig()), 1_100_048_384),
    "unet": (lambda: unet.UNet(unet.UNetConfig(classes=1)), 31_037_633),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_has_as_many_parameters_as_the_published_one(name):
    make, count = PUBLISHED[name]
    params, _ = jax.eval_shape(fn.functionalize(make()).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


# ---- files ---------------------------------------------------------------------------------------


@pytest.fixture
def config_file(tmp_path):
    def write(**settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings))
        return path

    return write


def test_a_config_is_read_from_a_file(config_file):
    path = config_file(hidden_size=64, model_type="bert", initializer_range=0.02)
    assert read_config(bert.BertConfig, path) == bert.BertConfig(hidden_size=64)
    assert read_config(bert.BertConfig, path, hidden_size=32).hidden_size == 32
    with pytest.raises(TypeError, match="hiden_size"):
        read_config(bert.BertConfig, path, hiden_size=32)


def test_labels_are_counted(config_file):
    path = config_file(id2label={"0": "cat", "1": "dog"})
    assert read_config(vit.ViTConfig, path).num_labels == 2


def test_old_and_new_ways_to_scale_positions_are_one(config_file):
    scaling = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    old = read_config(llama.LlamaConfig, config_file(rope_theta=5e5, rope_scaling=scaling))
    new = read_config(llama.LlamaConfig, config_file(rope_parameters=scaling | {"rope_theta": 5e5}))
    assert old.rope_theta == new.rope_theta == 5e5
    one, other = llama.rotary(old), llama.rotary(new)
    assert (one.frequencies == other.frequencies).all()


# ---- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "gpt2": (lambda: gpt2.GPT2Config(activation_function="relu"), "'relu'"),
    "llama activation": (lambda: llama.LlamaConfig(hidden_act="gelu"), "'gelu'"),
    "llama window": (lambda: llama.LlamaConfig(sliding_window=4096), "sliding_window"),
    "llama positions": (
        lambda: llama.rotary(llama.LlamaConfig(rope_scaling={"type": "yarn"})),
        "default, linear, llama3.*'yarn'",
    ),
    "bert activation": (lambda: bert.BertConfig(hidden_act="silu"), "gelu, gelu_new, relu.*'silu'"),
    "bert positions": (
        lambda: bert.BertConfig(position_embedding_type="relative_key"),
        "'absolute'.*'relative_key'",
    ),
    "vit activation": (lambda: vit.ViTConfig(hidden_act="relu"), "'relu'"),
    "vit patches": (lambda: vit.ViTConfig(image_size=30), "16 do not fill 30"),
    "lstm sizes": (lambda: lstm_lm.LSTMConfig(hidden_size=300, tied=True), "650 and 300"),
    "resnet depth": (lambda: resnet.resnet(20), "18, 34, 50, 101, 152 layers, not 20"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_does_not_compute_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


# ---- dropout -------------------------------------------------------------------------------------

TOKENS = jnp.zeros((2, 5), jnp.int32)

DROPOUTS = {
    # after the embedding; in each of two layers of attention weights, of attention and of the MLP
    "gpt2": (gpt2.GPT2(gpt2.GPT2Config(50, 20, 24, 2, 3)), TOKENS, 1 + 2 * 3),
    "bert": (bert.Bert(bert.BertConfig(50, 24, 2, 3, 40)), TOKENS, 1 + 2 * 3),
    "vit": (
        vit.ViT(vit.ViTConfig(12, 4, 3, 24, 2, 3, 40, 0.1, 0.1)),
        jnp.zeros((2, 3, 12, 12)),
        1 + 2 * 3,
    ),
    # of attention weights alone
    "llama": (
        llama.Llama(llama.LlamaConfig(50, 24, 40, 2, 3, 3, attention_dropout=0.1)),
        TOKENS,
        2,
    ),
    # before, between and after two LSTM layers
    "lstm": (lstm_lm.LSTMLM(lstm_lm.LSTMConfig(50, 24, 24, 2)), TOKENS, 3),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_is_drawn_in_training_and_only_there(name, key):
    model, inputs, count = DROPOUTS[name]
    net = fn.functionalize(model)
    params, state = jax.eval_shape(net.init, key)
    for train, draws in ((True, count), (False, 0)):
        program = jax.make_jaxpr(
            lambda params, key, train=train: net.apply(params, state, inputs, key=key, train=train)
        )(params, key)
        assert len(re.findall(r"\brandom_bits\b", str(program))) == draws
