"""Models against transformers' with random weights, loaded from what ``save_pretrained`` writes."""

import os
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from examples.models import bert, gpt2, llama, read_config, resnet, vit
from funcnet import checkpoint
from funcnet import functional as F
from tests.models import reference

torch = pytest.importorskip("torch")

EXACT = 1e-5  # float32, relative to the largest value
GRADIENT = 1e-5


@pytest.fixture(scope="module")
def hf():
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def written(model, folder):
    """Save a model as its users do; return the paths of its weights and config."""
    model.eval().save_pretrained(folder)
    return SimpleNamespace(weights=folder / "model.safetensors", config=folder / "config.json")


def integers(shape, below, seed=0):
    return np.random.default_rng(seed).integers(0, below, shape).astype(np.int32)


def expected_of(model, *args, **settings):
    args = [torch.tensor(np.asarray(x).tolist()) for x in args]
    with torch.no_grad():
        return model(*args, **settings)


# ---- GPT-2 ---------------------------------------------------------------------------------------


def gpt2_of(hf, kind="GPT2LMHeadModel"):
    config = hf.GPT2Config(
        vocab_size=50,
        n_positions=20,
        n_embd=24,
        n_layer=2,
        n_head=3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return reference.randomize(getattr(hf, kind)(config))


def test_gpt2_and_its_gradients(hf, tmp_path):
    theirs = gpt2_of(hf)
    files = written(theirs, tmp_path)
    assert "lm_head.weight" not in checkpoint.load_arrays(files.weights)
    ours = gpt2.GPT2(read_config(gpt2.GPT2Config, files.config))
    params, state = reference.load(files.weights, ours)
    tokens = integers((2, 12), 50)
    net = fn.functionalize(ours)

    def loss(params):
        logits, _ = net.apply(params, state, tokens)
        return F.cross_entropy(logits[:, :-1].reshape(-1, 50), tokens[:, 1:].reshape(-1)), logits

    (value, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    ids = torch.tensor(tokens.tolist())
    output = theirs(ids, labels=ids)
    assert reference.far(logits, output.logits.detach()) < EXACT
    assert reference.far(value, output.loss.detach()) < EXACT
    output.loss.backward()
    found = fn.state_dict(ours, grads)
    for name, parameter in theirs.named_parameters():
        assert reference.far(found[name], parameter.grad) < GRADIENT, name


def test_gpt2_without_its_head(hf, tmp_path):
    theirs = gpt2_of(hf, "GPT2Model")
    files = written(theirs, tmp_path)
    ours = gpt2.GPT2(read_config(gpt2.GPT2Config, files.config))
    params, _ = reference.load(files.weights, ours, gpt2.RENAME)
    tokens = integers((2, 12), 50)
    inner = ours.transformer
    found, _ = reference.applied(inner, params["transformer"], {}, tokens)
    assert reference.far(found, expected_of(theirs, tokens).last_hidden_state) < EXACT


def test_saved_weights_load_in_transformers(hf, tmp_path):
    theirs = gpt2_of(hf)
    files = written(theirs, tmp_path)
    ours = gpt2.GPT2(read_config(gpt2.GPT2Config, files.config))
    params, state = jax.jit(fn.functionalize(ours).init)(jax.random.key(0))
    checkpoint.save_weights(files.weights, ours, params, state)
    theirs = hf.GPT2LMHeadModel.from_pretrained(tmp_path)
    tokens = integers((2, 12), 50)
    found, _ = reference.applied(ours, params, state, tokens)
    assert reference.far(found, expected_of(theirs, tokens).logits) < EXACT


# ---- Llama ---------------------------------------------------------------------------------------

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}


def llama_of(hf, **settings):
    config = hf.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        **settings,
    )
    return reference.randomize(hf.LlamaForCausalLM(config))


LLAMAS = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True, "head_dim": 12},
    "llama3": {"rope_parameters": LLAMA3},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}},
}


@pytest.mark.parametrize("kind", LLAMAS)
def test_llama(kind, hf, tmp_path):
    theirs = llama_of(hf, **LLAMAS[kind])
    files = written(theirs, tmp_path)
    assert ("lm_head.weight" in checkpoint.load_arrays(files.weights)) == (kind != "tied")
    ours = llama.Llama(read_config(llama.LlamaConfig, files.config))
    params, state = reference.load(files.weights, ours)
    tokens = integers((2, 20), 50)
    found, _ = reference.applied(ours, params, state, tokens)
    assert reference.far(found, expected_of(theirs, tokens).logits) < EXACT


def test_llama_in_bfloat16(hf, tmp_path):
    theirs = llama_of(hf).to(torch.bfloat16)
    files = written(theirs, tmp_path)
    ours = llama.Llama(read_config(llama.LlamaConfig, files.config))
    params, state = reference.load(files.weights, ours)
    tokens = integers((2, 20), 50)
    found, _ = reference.applied(ours, params, state, tokens)
    assert found.dtype == jnp.bfloat16
    exact = expected_of(theirs.to(torch.float32), tokens).logits  # of the rounded weights
    # 8 bits of mantissa, and some ten roundings one after another
    assert reference.far(found.astype(jnp.float32), exact) < 0.03
    written_on = jax.jit(lambda params: llama.generate(ours, params, tokens[:, :3], 4))(params)
    assert written_on.shape == (2, 4)


def test_llama_writes_what_transformers_would(hf, tmp_path):
    theirs = llama_of(hf, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    files = written(theirs, tmp_path)
    ours = llama.Llama(read_config(llama.LlamaConfig, files.config))
    params, _ = reference.load(files.weights, ours)
    prompt = integers((2, 5), 50)
    ids = torch.tensor(prompt.tolist())
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
    )
    found = jax.jit(lambda params: llama.generate(ours, params, prompt, 12))(params)
    np.testing.assert_array_equal(found, expected[:, 5:])


# ---- BERT ----------------------------------------------------------------------------------------


def bert_config(hf):
    return hf.BertConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=20,
    )


TOKENS = integers((3, 12), 50)
MASK = np.arange(12) < np.array([[12], [7], [1]])
SEGMENTS = integers((3, 12), 2, seed=1)


def test_bert(hf, tmp_path):
    theirs = reference.randomize(hf.BertModel(bert_config(hf)))
    files = written(theirs, tmp_path)
    ours = bert.Bert(read_config(bert.BertConfig, files.config))
    params, state = reference.load(files.weights, ours)
    (hidden, pooled), _ = reference.applied(ours, params, state, TOKENS, MASK, SEGMENTS)
    output = expected_of(theirs, TOKENS, MASK.astype(int), SEGMENTS)
    assert reference.far(hidden[MASK], output.last_hidden_state.numpy()[MASK]) < EXACT
    assert reference.far(pooled, output.pooler_output) < EXACT

    (hidden, _), _ = reference.applied(ours, params, state, TOKENS)
    assert reference.far(hidden, expected_of(theirs, TOKENS).last_hidden_state) < EXACT

    vectors, _ = reference.applied(ours.embed, params, state, TOKENS, MASK)
    weights = torch.tensor(MASK)[..., None].float()
    hidden = expected_of(theirs, TOKENS, MASK.astype(int)).last_hidden_state
    mean = (hidden * weights).sum(1) / weights.sum(1)
    assert reference.far(vectors, torch.nn.functional.normalize(mean, dim=1)) < EXACT


@pytest.mark.parametrize("age", ["new", "oldest"])
def test_bert_with_a_head(age, hf, tmp_path):
    theirs = reference.randomize(hf.BertForPreTraining(bert_config(hf)))
    files = written(theirs, tmp_path)
    ours = bert.Bert(read_config(bert.BertConfig, files.config))
    table = bert.RENAME
    if age == "oldest":
        table = bert.RENAME_OLDEST
        old = {"*.LayerNorm.weight": "*.LayerNorm.gamma", "*.LayerNorm.bias": "*.LayerNorm.beta"}
        arrays = reference.renamed(checkpoint.load_arrays(files.weights), old)
        checkpoint.save_arrays(files.weights, arrays)
    params, state = reference.load(files.weights, ours, table)
    (hidden, _), _ = reference.applied(ours, params, state, TOKENS)
    assert reference.far(hidden, expected_of(theirs.bert, TOKENS).last_hidden_state) < EXACT


def test_what_a_lenient_load_misses_raises_at_the_call(tmp_path):
    ours = bert.Bert(bert.BertConfig(50, 24, 1, 3, 40))
    shapes = jax.eval_shape(fn.functionalize(ours).init, jax.random.key(0))
    params, state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    named = fn.state_dict(ours, params, state)
    named["embeddings.position_ids"] = np.arange(512)
    del named["pooler.dense.bias"]
    path = checkpoint.save_arrays(tmp_path / "w.safetensors", named)
    params, state = reference.load(path, ours, strict=False)
    with pytest.raises(fn.errors.ParameterTreeError, match=r"pooler\.dense\.bias"):
        fn.functionalize(ours).apply(params, state, TOKENS)


# ---- ViT -----------------------------------------------------------------------------------------


def test_vit(hf, tmp_path):
    config = hf.ViTConfig(
        image_size=12,
        patch_size=4,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_labels=5,
    )
    theirs = reference.randomize(hf.ViTForImageClassification(config))
    files = written(theirs, tmp_path)
    ours = vit.ViT(read_config(vit.ViTConfig, files.config))
    params, state = reference.load(files.weights, ours)
    images = np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32)
    logits, _ = reference.applied(ours, params, state, images)
    output = expected_of(theirs, images, output_hidden_states=True)
    assert reference.far(logits, output.logits) < EXACT

    backbone = hf.ViTModel(config, add_pooling_layer=False)
    backbone.load_state_dict(theirs.vit.state_dict())
    path = written(backbone, tmp_path / "backbone").weights
    params, state = reference.load(path, ours.vit)
    features, _ = reference.applied(ours.vit, params, state, images)
    assert reference.far(features, expected_of(backbone, images).last_hidden_state) < EXACT


def test_vit_is_timms(tmp_path):
    try:
        import timm
    except Exception as error:  # also where its torchvision does not fit the PyTorch that is here
        pytest.skip(f"timm cannot be imported: {error}")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    theirs = timm.create_model("vit_base_patch16_224", num_classes=5, **sizes)
    theirs = reference.randomize(theirs).eval()
    ours = vit.ViT(
        vit.ViTConfig(32, 8, 3, 24, 2, 3, intermediate_size=96, layer_norm_eps=1e-6, num_labels=5)
    )
    arrays = checkpoint.load_arrays(reference.saved(theirs, tmp_path))
    params, state = fn.load_state_dict(ours, vit.from_timm(arrays))
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    found, _ = reference.applied(ours, params, state, images)
    assert reference.far(found, expected_of(theirs, images)) < EXACT


# ---- ResNet --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_resnet(kind, hf, tmp_path):
    deep = kind == "bottleneck"
    config = hf.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[(32 if deep else 8) * 2**i for i in range(4)],
        depths=[1, 2, 1, 1],
        layer_type=kind,
        num_labels=5,
    )
    theirs = reference.randomize(hf.ResNetForImageClassification(config))
    ours = resnet.ResNetConfig((1, 2, 1, 1), deep, 8, 5)
    model = resnet.ResNet(ours)
    weights = written(theirs, tmp_path).weights
    params, state = reference.load(weights, model, resnet.rename_hugging_face(ours))
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    found, _ = reference.applied(model, params, state, images)
    assert reference.far(found, expected_of(theirs, images).logits) < EXACT


# ---- other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_llama_from_a_folder_of_shards(kind, hf, tmp_path):
    theirs = llama_of(hf, **LLAMAS[kind]).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ours = llama.Llama(read_config(llama.LlamaConfig, tmp_path / "config.json"))
    params, state = reference.load(tmp_path, ours)
    tokens = integers((2, 20), 50)
    found, _ = reference.applied(ours, params, state, tokens)
    assert reference.far(found, expected_of(theirs, tokens).logits) < EXACT


def test_gpt2_from_a_file_of_torch_save(hf, tmp_path):
    theirs = gpt2_of(hf).eval()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    theirs.config.save_pretrained(tmp_path)
    ours = gpt2.GPT2(read_config(gpt2.GPT2Config, tmp_path / "config.json"))
    params, state = reference.load(tmp_path / "pytorch_model.bin", ours)
    tokens = integers((2, 12), 50)
    found, _ = reference.applied(ours, params, state, tokens)
    assert reference.far(found, expected_of(theirs, tokens).logits) < EXACT
