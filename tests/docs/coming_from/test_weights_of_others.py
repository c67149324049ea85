"""Pages on other libraries, run from the top with the library there; weights moved by their functions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from docs.generation.assemble import DOCS
from funcnet import nn
from tests.docs.coming_from.pages_with_others import check, run

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
X = np.sin(np.arange(2 * 5 * 8, dtype=np.float32)).reshape(2, 5, 8)
IMAGES = np.sin(np.arange(2 * 3 * 6 * 6, dtype=np.float32)).reshape(2, 3, 6, 6)


@pytest.fixture(autouse=True)
def as_they_are_written():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@cache
def page(library):
    return run((DOCS / f"coming_from/{library}.md").read_text())


def drawn(tree, seed=0):
    """Replace arrays by numbers that are all different: zeros of biases would hide mistakes."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.float32((0.3 + draw.random(a.shape)) / 3), tree)


@pytest.mark.slow
def test_flax_linen():
    linen = pytest.importorskip("flax.linen")
    pytest.importorskip("optax")
    ours, theirs = page("flax")
    assert theirs["value"] < 1
    from_flax, key = ours["from_flax"], jax.random.key(0)
    channels_last = IMAGES.transpose(0, 2, 3, 1)

    def layer(module, x):
        variables = drawn(module.init(key, x))
        expected = module.apply(variables, x)
        return from_flax(variables["params"]) | from_flax(
            variables.get("batch_stats", {})
        ), expected

    arrays, expected = layer(linen.Dense(3), X)
    check(nn.Linear(8, 3), arrays, X, expected=expected)
    arrays, expected = layer(linen.Conv(4, (3, 3), padding="VALID"), channels_last)
    check(nn.Conv2d(3, 4, 3), arrays, IMAGES, expected=expected.transpose(0, 3, 1, 2))
    arrays, expected = layer(linen.BatchNorm(use_running_average=True), channels_last)
    check(nn.BatchNorm2d(3), arrays, IMAGES, expected=expected.transpose(0, 3, 1, 2))
    arrays, expected = layer(linen.LayerNorm(epsilon=1e-5), X)
    check(nn.LayerNorm(8), arrays, X, expected=expected)
    arrays, expected = layer(linen.Embed(9, 4), np.arange(6).reshape(2, 3))
    check(nn.Embedding(9, 4), arrays, np.arange(6).reshape(2, 3), expected=expected)
    for cell, gates, module in (
        (linen.OptimizedLSTMCell(6), "ifgo", nn.LSTM(8, 6, batch_first=True)),
        (linen.GRUCell(6), "rzn", nn.GRU(8, 6, batch_first=True)),
    ):
        whole = linen.RNN(cell)
        variables = drawn(whole.init(key, X))
        arrays = ours["cell_from_flax"](variables["params"]["cell"], gates, after="_l0")
        check(module, arrays, X, expected=whole.apply(variables, X))
    attention = linen.MultiHeadDotProductAttention(2)
    variables = drawn(attention.init(key, X, X, X))
    arrays = ours["attention_from_flax"](variables["params"])
    expected = attention.apply(variables, X, X, X)
    check(nn.MultiheadAttention(8, 2, batch_first=True), arrays, X, X, X, expected=expected)


@pytest.mark.slow
def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")
    pytest.importorskip("optax")
    ours, _ = page("flax")
    rngs = nnx.Rngs(0)
    channels_last = IMAGES.transpose(0, 2, 3, 1)

    def made(module):
        graph, state = nnx.split(module)
        state = drawn(state)
        return nnx.merge(graph, state), nnx.to_pure_dict(state)

    whole, arrays = made(
        nnx.Sequential(
            nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs),
            nnx.BatchNorm(4, use_running_average=True, rngs=rngs),
            nnx.Linear(4, 2, rngs=rngs),
        )
    )
    layers = {str(i): f"{i}" for i in range(3)}
    arrays = ours["from_flax"]({str(i): x for i, x in arrays["layers"].items()}, layers)
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    expected = whole.layers[1](whole.layers[0](channels_last)).transpose(0, 3, 1, 2)
    assert {name for name in arrays if name.startswith("2.")} == {"2.weight", "2.bias"}
    kept = {name: x for name, x in arrays.items() if not name.startswith("2.")}
    check(first, kept, IMAGES, expected=expected)
    zeros = {"OptimizedLSTMCell": ("ih", 24), "GRUCell": ("hh", 18)}
    for kind, module in (
        ("OptimizedLSTMCell", nn.LSTM(8, 6, batch_first=True)),
        ("GRUCell", nn.GRU(8, 6, batch_first=True)),
    ):
        cell, parts = made(getattr(nnx, kind)(8, 6, rngs=rngs))
        side, size = zeros[kind]
        other = {"ih": "hh", "hh": "ih"}[side]
        bias = parts[{"ih": "dense_i", "hh": "dense_h"}[other]]["bias"]
        arrays = {
            "weight_ih_l0": parts["dense_i"]["kernel"].T,
            "weight_hh_l0": parts["dense_h"]["kernel"].T,
            f"bias_{other}_l0": bias,
            f"bias_{side}_l0": np.zeros(size, np.float32),
        }
        check(module, arrays, X, expected=nnx.RNN(cell)(X))
    attention, parts = made(nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs))
    arrays = ours["attention_from_flax"](parts)
    expected = attention(X)
    check(nn.MultiheadAttention(8, 2, batch_first=True), arrays, X, X, X, expected=expected)


def test_states_of_nnx_are_trees():
    nnx = pytest.importorskip("flax.nnx")
    graph, state = nnx.split(nnx.Linear(8, 2, rngs=nnx.Rngs(0)))
    loss = lambda state, x: (nnx.merge(graph, state)(x) ** 2).sum()
    grads = fn.per_example_grad(loss)(state, jnp.asarray(X[0]))
    assert grads["kernel"].shape == (5, 8, 2)


@pytest.mark.slow
def test_equinox():
    eqx = pytest.importorskip("equinox")
    pytest.importorskip("optax")
    ours, theirs = page("equinox")
    assert theirs["value"] < 1.5
    key = jax.random.key(0)

    def filled(module):
        arrays, rest = eqx.partition(module, eqx.is_inexact_array)
        return eqx.combine(drawn(arrays), rest)

    for module, mine, x in (
        (eqx.nn.Linear(8, 3, key=key), nn.Linear(8, 3), X[0]),
        (eqx.nn.Conv2d(3, 4, 3, key=key), nn.Conv2d(3, 4, 3), IMAGES),
        (eqx.nn.LayerNorm(8), nn.LayerNorm(8), X[0]),
        (eqx.nn.Embedding(9, 4, key=key), nn.Embedding(9, 4), np.arange(6)),
    ):
        module = filled(module)
        check(mine, ours["from_equinox"](module), x, expected=jax.vmap(module)(x))
    for kind, mine in (("LSTMCell", nn.LSTMCell(8, 6)), ("GRUCell", nn.GRUCell(8, 6))):
        cell = filled(getattr(eqx.nn, kind)(8, 6, key=key))
        start = jnp.cos(jnp.arange(6.0))
        before = (start, start) if kind == "LSTMCell" else start
        expected = cell(X[0, 0], before)
        expected = expected[0] if kind == "LSTMCell" else expected
        arrays = ours["cell_from_equinox"](cell)
        check(mine, arrays, X[0, 0], before, expected=expected)
    attention = filled(eqx.nn.MultiheadAttention(2, 8, key=key))
    expected = attention(X[0], X[0], X[0])
    arrays = ours["attention_from_equinox"](attention)
    check(nn.MultiheadAttention(8, 2, bias=False), arrays, *[X[0]] * 3, expected=expected)
