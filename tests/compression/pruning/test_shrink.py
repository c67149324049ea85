"""Smaller models compute what the masked ones do, keep their names, train, and load; what cannot go is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression, nn
from tests.sampling import sampled

RNG = np.random.default_rng(0)


def drawn(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


ROWS, IMAGES, WORDS = drawn(4, 6), drawn(2, 3, 8, 8), drawn(2, 5, 8)


class Mlp(fn.Module):
    def __init__(self):
        self.up = nn.Linear(8, 12)
        self.norm = nn.BatchNorm1d(12)
        self.down = nn.Linear(12, 8)

    def __call__(self, x):
        return x + self.down(jnp.tanh(self.norm(self.up(x))))


class Deep(fn.Module):
    def __init__(self):
        self.blocks = nn.ModuleList([Mlp() for _ in range(2)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def encoder(**options):
    return nn.TransformerEncoderLayer(8, 4, 16, batch_first=True, **options)


# A model, its inputs, options, and how large some arrays are when half of the units are gone.
MODELS = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 4, bias=False), nn.Linear(4, 3)),
        (ROWS,), {}, {"0.weight": (4, 6), "2.weight": (2, 4), "3.weight": (3, 2)},
    ),
    "norms": (
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Softplus(), nn.PReLU(8), nn.Linear(8, 3)
        ),
        (ROWS,), {}, {"1.running_var": (4,), "4.weight": (4,), "5.weight": (3, 4)},
    ),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 3))),
        (ROWS,), {}, {"1.0.weight": (3, 4)},
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 4, 3), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(16, 5),
        ),
        (IMAGES,), {}, {"4.weight": (2, 4, 3, 3), "7.weight": (5, 8)},
    ),
    "channels last": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, channels_last=True), nn.Tanh(), nn.Conv2d(8, 4, 1, channels_last=True),
            nn.AvgPool2d(2, channels_last=True), nn.Flatten(), nn.Linear(36, 5),
        ),
        (jnp.moveaxis(IMAGES, 1, -1),), {}, {"5.weight": (5, 18)},
    ),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3),
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1),
        ),
        (IMAGES,), {}, {"0.weight": (3, 4, 3, 3), "1.bias": (4,), "3.weight": (4, 2, 3, 3), "5.weight": (2, 2, 1, 1)},
    ),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(8, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 1)),
        (jnp.swapaxes(WORDS, 1, 2),), {}, {"2.weight": (2, 4, 1)},
    ),
    "encoder layer": (
        encoder, (WORDS,), {},
        {"self_attn.in_proj_weight": (12, 8), "self_attn.out_proj.weight": (8, 4), "linear2.weight": (8, 8)},
    ),
    "hidden units alone": (
        encoder, (WORDS,), {"patterns": "linear1"},
        {"self_attn.in_proj_weight": (24, 8), "linear1.bias": (8,)},
    ),
    "decoder layer": (
        lambda: nn.TransformerDecoderLayer(8, 4, 16, batch_first=True), (WORDS, WORDS + 1), {},
        {"multihead_attn.in_proj_bias": (12,)},
    ),
    "stack": (
        lambda: nn.Repeat(encoder(), 3), (WORDS,), {},
        {"module.linear1.weight": (3, 8, 8), "module.self_attn.out_proj.weight": (3, 8, 4)},
    ),
    "list of layers": (
        lambda: nn.TransformerEncoder(encoder(norm_first=True), 2), (WORDS,), {},
        {"layers.1.linear1.weight": (8, 8)},
    ),
    "attention": (
        lambda: nn.MultiheadAttention(8, 4, add_bias_kv=True, batch_first=True, bias=False),
        (WORDS, WORDS + 1, WORDS - 1, None, False), {}, {"bias_k": (1, 1, 4)},
    ),
    "attention of other widths": (
        lambda: nn.MultiheadAttention(8, 4, kdim=6, vdim=5, batch_first=True),
        (WORDS, WORDS[..., :6], WORDS[..., :5], None, False), {}, {"q_proj_weight": (4, 8), "v_proj_weight": (4, 5)},
    ),
    "shared heads": (
        lambda: nn.GroupedQueryAttention(8, 4, 2, bias=True, rotary=nn.RotaryEmbedding(2)),
        (WORDS,), {}, {"q_proj.weight": (4, 8), "k_proj.bias": (2,), "o_proj.weight": (8, 4)},
    ),
    "named": (
        Mlp, (WORDS[:, 0],), {"groups": {"up": ["norm", "down"]}},
        {"up.weight": (6, 8), "norm.running_mean": (6,), "down.weight": (8, 6)},
    ),
    "named by a glob": (
        Deep, (WORDS[:, 0],), {"groups": {"blocks.*.up": ["norm", "down"]}}, {"blocks.1.down.weight": (8, 6)},
    ),
    "bfloat16": (
        lambda: nn.Sequential(nn.Linear(6, 8, dtype="bfloat16"), nn.ReLU(), nn.Linear(8, 3, dtype="bfloat16")),
        (ROWS.astype("bfloat16"),), {}, {"2.weight": (3, 4)},
    ),
}  # fmt: skip


def start(module, seed=0):
    """Draw params and state, and move all, so that no bias and no statistic is what it starts as."""
    params, state = jax.jit(fn.functionalize(module).init)(jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def moved(x):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return jnp.asarray(np.asarray(x) + rng.uniform(0.05, 0.2, x.shape).astype(x.dtype))

    return jax.tree.map(moved, params), jax.tree.map(moved, state)


def output(module, params, state, inputs):
    net = fn.functionalize(module)
    return jax.jit(lambda p, s: jax.tree.leaves(net.apply(p, s, *inputs)[0])[0])(params, state)


def half_masks(model, params, **options):
    return jax.jit(lambda p: compression.unit_masks(model, p, 0.5, **options))(params)


QUICK = ("convolutions", "stack")
"""Models of every run; the others with ``--grid=full``."""


def pytest_generate_tests(metafunc):
    if "model_name" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize("model_name", list(MODELS) if full else QUICK)


def test_outputs_stay(model_name):
    make, inputs, options, shapes = MODELS[model_name]
    model = make()
    params, state = start(model)
    before = jax.tree.map(np.asarray, (params, state))
    masks = half_masks(model, params, **options)
    small = compression.shrink(model, params, state, masks, verify=inputs, **options)
    expected = output(model, compression.apply_masks(params, masks), state, inputs)
    found = output(small.module, small.params, small.state, inputs)
    tolerance = 1e-6 * max(1, float(jnp.abs(expected).max()))
    if expected.dtype == jnp.bfloat16:
        tolerance = 0.02  # its sums of other lengths are rounded to 8 bits
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(expected, np.float32), rtol=0, atol=tolerance
    )
    arrays = fn.state_dict(small.module, small.params, small.state)
    assert arrays.keys() == fn.state_dict(model, params, state).keys()
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path((small.params, small.state))
    }
    for path, shape in shapes.items():
        assert shape in (flat.get(f"0.{path}"), flat.get(f"1.{path}")), path
    # a fresh start has the same shapes; what was given is as it was
    fresh = jax.eval_shape(fn.functionalize(small.module).init, jax.random.key(1))
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, small[1:3])
    jax.tree.map(np.testing.assert_array_equal, before, (params, state))
    # by an amount, the same
    if model_name in ("stack", "encoder layer", "named"):
        again = compression.shrink(model, params, state, 0.5, **options)
        jax.tree.map(np.testing.assert_array_equal, again.params, small.params)


def test_a_smaller_model_trains_and_shrinks_again(request):
    sampled(request)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    params, state = start(model)
    for size in (8, 4):
        model, params, state, _ = compression.shrink(model, params, state, 0.5, verify=ROWS)
        net = fn.functionalize(model)

        def loss(p, net=net, state=state):
            return (net.apply(p, state, ROWS, train=True)[0] ** 2).sum()

        assert jax.jit(jax.grad(loss))(params)["0"]["weight"].shape == (size, 6)


def test_heads_go_again():
    layer = nn.MultiheadAttention(8, 4, batch_first=True)
    params, state = start(layer)
    inputs = (WORDS, WORDS, WORDS, None, False)
    for heads in (3, 1):
        layer, params, state, kept = compression.shrink(
            layer, params, state, layer.num_heads - heads, verify=inputs
        )
        assert layer.num_heads == heads
        assert kept[""].shape == (heads,)
    assert params["in_proj_weight"].shape == (6, 8)


def test_layers_of_a_stack_keep_as_many_as_the_one_that_keeps_most(request):
    sampled(request)
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model = nn.Repeat(block, 2)
    params, state = start(model)
    rows = np.ones((2, 8, 8), bool)
    rows[0, [1, 4, 6]] = False
    rows[1, [0, 2]] = False
    masks = compression.whole_units(model, params, {"module.0.weight": rows})
    small = compression.shrink(model, params, state, masks, verify=WORDS)
    assert small.kept["module.0"].shape == (2, 6)
    assert small.kept["module.0"][1].tolist() == [1, 3, 4, 5, 6, 7]
    # one of the three that the first layer could spare stays, as zeros
    assert set(small.kept["module.0"][0].tolist()) > {0, 2, 3, 5, 7}
    assert small.params["module"]["2"]["weight"].shape == (2, 8, 6)


def test_masks_of_rows_are_made_whole_first():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    params, state = start(model)
    rows = compression.structured_masks(model, params, 0.5, "rows", patterns="0")
    with pytest.raises(
        ValueError, match=r"units of 0 go, and 3.weight still reads them.*whole_units"
    ):
        compression.shrink(model, params, state, rows)
    whole = compression.whole_units(model, params, rows)
    kept = np.asarray(rows["0"]["weight"]).any(1)
    for name, layer in (("0", "bias"), ("1", "weight"), ("1", "bias")):
        np.testing.assert_array_equal(whole[name][layer], kept)
    np.testing.assert_array_equal(whole["3"]["weight"], np.broadcast_to(kept, (3, 8)))
    small = compression.shrink(model, params, state, whole, verify=ROWS)
    assert small.kept["0"].tolist() == np.flatnonzero(kept).tolist()


def test_numbers_that_are_masked_besides_stay_zero(request):
    sampled(request)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    params, state = start(model)
    both = compression.combine_masks(
        compression.unit_masks(model, params, 0.5), compression.magnitude_masks(params, 0.5)
    )
    small = compression.shrink(model, params, state, both, verify=ROWS)
    zeros = compression.sparsity(small.params, "0.weight").zeros
    assert zeros == int((~both["0"]["weight"]).sum()) - 24


def test_a_model_in_use_keeps_one_unit_at_least():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    small = compression.shrink(model, *start(model), 1.0, verify=ROWS)
    assert small.params["0"]["weight"].shape == (1, 6)


def test_unit_masks_compile():
    model = nn.Repeat(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), 2)
    params, _ = start(model)
    plain = compression.unit_masks(model, params, 0.25)
    traced = jax.jit(partial(compression.unit_masks, model))(params, 0.25)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(traced), strict=True):
        np.testing.assert_array_equal(a, b)
