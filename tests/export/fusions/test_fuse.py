"""Larger operators are found where a function is written for them, and only there; the file agrees either way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet import export
from funcnet import functional as F

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MASK = np.tril(np.ones((6, 6), bool))


def attend(x, mask=None, **settings):
    q, k, v = jnp.split(x, 3, -1)
    return F.scaled_dot_product_attention(q, k, v, mask, **settings)


def standardized(x, place):
    """Layer normalization over 4 numbers, its means put at a place among the axes."""

    def mean(y):
        return jnp.expand_dims(y.sum(-1), place) / 4

    near = x - mean(x)
    rest = mean(near)
    variance = jnp.maximum(mean(near * near) - rest * rest, 0)
    return (near - rest) * lax.rsqrt(variance + 1e-5)


def exponentials(x, axis=-1):
    """Attention of scores to themselves, divided by sums along an axis; and what is summed."""
    largest = x.max(-1, keepdims=True, initial=float(jnp.finfo(x.dtype).min))
    finite = largest < jnp.inf
    weights = jnp.exp(jnp.where(finite, x - largest, -jnp.inf))
    total = weights.sum(axis)[..., None]
    return jnp.where(finite, (weights @ x) / jnp.where(total == 0, 1.0, total), jnp.nan), weights


FUSED = {
    "relu": (F.relu, ("batch", 5), {"Relu": 1}),
    "pool": (lambda x: F.max_pool2d(x, 2), ("batch", 3, 8, 6), {"MaxPool": 1}),
    "pool, odd": (lambda x: F.max_pool2d(x, 2), ("batch", 3, 7, 9), {"MaxPool": 1}),
    "pool, padded": (lambda x: F.max_pool2d(x, 3, 2, 1), ("batch", 3, 8, 9), {"MaxPool": 1}),
    "pool, dilated": (lambda x: F.max_pool2d(x, 2, 1, 0, 2), ("batch", 2, 7, 7), {"MaxPool": 1}),
    "pool, 1d": (lambda x: F.max_pool1d(x, 3, 1), ("batch", 2, 9), {"MaxPool": 1}),
    "layer norm": (
        lambda x: F.layer_norm(x, (8,), jnp.linspace(1.0, 2.0, 8), jnp.linspace(0.0, 1.0, 8)),
        ("batch", 8),
        {"LayerNormalization": 1},
    ),
    "layer norm, two axes": (
        lambda x: F.layer_norm(x, (3, 4)),
        ("batch", 3, 4),
        {"LayerNormalization": 1},
    ),
    "gelu": (F.gelu, ("batch", 5), {"Gelu": 1}),
    "attention": (attend, ("batch", 2, 6, 12), {"Softmax": 1, "Where": 0}),
    "attention, causal": (
        lambda x: attend(x, is_causal=True),
        ("batch", 2, 6, 12),
        {"Softmax": 1, "Where": 0},
    ),
    "attention, a mask": (lambda x: attend(x, MASK), ("batch", 2, 6, 12), {"Softmax": 1}),
    # a row that attends to nothing gives zeros, which a Softmax does not
    "attention, an empty row": (
        lambda x: attend(x, MASK & (np.arange(6) > 0)),
        ("batch", 2, 6, 12),
        {"Softmax": 0},
    ),
    "not a relu": (lambda x: jnp.where(x <= 0, 0.0, 2 * x), ("batch", 5), {"Relu": 0}),
    "not a pool": (
        lambda x: jnp.maximum(x[:, :, ::2], x[:, :, 1::2]),
        ("batch", 2, 6),
        {"MaxPool": 0},
    ),
    "layer norm, far from 0": (
        lambda x: F.layer_norm(x + 1e4, (8,)),
        ("batch", 8),
        {"LayerNormalization": 1, "ReduceMean": 1},
    ),
    "not over the last axis": (
        lambda x: F.layer_norm(x.swapaxes(1, 2), (3,)).swapaxes(1, 2),
        ("batch", 3, 4),
        {"LayerNormalization": 1},
    ),
    "over an axis between": (lambda x: F.instance_norm(x), ("batch", 3, 4), {}),
    "a scale for each row": (
        lambda x: F.layer_norm(x, (4,)) * x.sum(0)[:, None],
        (4, 4),
        {"LayerNormalization": 1, "Mul": 1},
    ),
    "a scale with more axes": (
        lambda x: F.layer_norm(x, (4,)) * x.sum(0)[None, None],
        (3, 4),
        {"LayerNormalization": 1, "Mul": 1},
    ),
    "means in another place": (
        lambda x: standardized(x, 0),
        (4, 4),
        {"LayerNormalization": 0},
    ),
    "means of the last axis": (lambda x: standardized(x, 1), (4, 4), {"LayerNormalization": 1}),
    "one column beside all": (
        lambda x: jnp.maximum(x[:, :, 0:1], x[:, :, 1:]),
        (2, 2, 5),
        {"MaxPool": 0},
    ),
    "pool, a window of padding alone": (
        lambda x: F.max_pool2d(x, 2, 1, 1, 2),
        (1, 2, 1, 1),
        {"Pad": 1},
    ),
    "pool, over four axes": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *[2] * 4), (1,) * 6, "VALID"),
        (1, 1, 2, 3, 2, 2),
        {"MaxPool": 0},
    ),
    "exponentials that are returned": (exponentials, (3, 9, 9), {"Softmax": 0, "Exp": 1}),
    "sums of another axis": (lambda x: exponentials(x, -2)[0], (3, 9, 9), {"Softmax": 0}),
    "sums of the last axis": (lambda x: exponentials(x)[0], (3, 9, 9), {"Softmax": 1}),
}


@pytest.mark.parametrize("name", FUSED)
def test_operators_of_the_file(name, tmp_path):
    function, shape, expected = FUSED[name]
    report = export.onnx(
        tmp_path / "model.onnx",
        lambda params, state, x: (function(x), state),
        {},
        {},
        export.spec(shape, jnp.float32, "x"),
    )
    assert report.error is not None
    assert report.error <= 1e-5
    assert {each: report.operators.get(each, 0) for each in expected} == expected


def test_integers_and_wide_floats_keep_their_choices(tmp_path):
    spec = export.spec(("batch", 4), jnp.int32, "x")
    report = export.onnx(
        tmp_path / "model.onnx", lambda params, state, x: (F.relu(x), state), {}, {}, spec
    )
    assert "Relu" not in report.operators


def test_weights_become_the_third_input(tmp_path):
    params = {
        "kernel": jax.random.normal(jax.random.key(0), (4, 3, 3, 3)),
        "offset": jnp.arange(4.0),
    }

    def net(params, state, x):
        return F.conv2d(x, params["kernel"], params["offset"]), state

    spec = export.spec(("batch", 3, 6, 6), jnp.float32, "x")
    report = export.onnx(tmp_path / "model.onnx", net, params, {}, spec)
    assert report.operators == {"Conv": 1}
