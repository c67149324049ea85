"""Reports of what few bits cost, and which layers mind most."""

from functools import cache

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression as C
from funcnet import functional as F
from funcnet import nn

MODEL = nn.Sequential(
    nn.Linear(16, 32), nn.ReLU(), nn.Repeat(nn.Linear(32, 32), 2), nn.Linear(32, 4)
)

X = jax.random.normal(jax.random.key(1), (8, 16))


@cache
def _whole():
    return MODEL, *jax.jit(fn.functionalize(MODEL).init)(jax.random.key(0))


def _calibrated(*whole):
    made, params, state = C.fake_quantize(*whole)
    return made, params, C.calibrate(made, params, state, [2 * X])


KINDS = {
    "quantize": C.quantize,
    "dynamic": C.quantize_dynamic,
    "fake": _calibrated,
    "convert": lambda *whole: C.convert(*_calibrated(*whole)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_for_each_layer(kind):
    whole = _whole()
    costs = C.quantization_report(whole, KINDS[kind](*whole), [X, 2 * X])
    assert [row.path for row in costs.rows] == ["0", "2.module", "3"]
    weight = np.asarray(whole[1]["0"]["weight"])
    scales = np.abs(weight).max(1, keepdims=True) / 127
    error = np.linalg.norm(np.round(weight / scales) * scales - weight) / np.linalg.norm(weight)
    for row in costs.rows:
        assert row.scheme == "Int8()"
        assert 0 < row.weight_error < 0.01
        assert row.noise > 10
        assert row.bytes_before > 0
    np.testing.assert_allclose(costs["0"].weight_error, error, rtol=1e-3)
    assert str(costs).splitlines()[0].split("  ")[0] == "layer"
    assert costs._repr_html_().count("<tr>") == 4


def test_noise_is_that_of_the_outputs():
    layer = nn.Linear(16, 4)
    whole = (layer, *fn.functionalize(layer).init(jax.random.key(0)))
    few = C.quantize(*whole, C.Int4())
    x = jax.random.normal(jax.random.key(1), (8, 16))
    before, after = (fn.functionalize(m).apply(p, s, x)[0] for m, p, s in (whole, few))
    exact = 10 * np.log10(np.sum(before**2) / np.sum((after - before) ** 2))
    costs = C.quantization_report(whole, few, [x])
    np.testing.assert_allclose(costs[""].noise, exact, rtol=1e-4)  # sums of float32
    sizes = [sum(a.nbytes for a in jax.tree.leaves(m[1:])) for m in (few, whole)]
    assert [costs[""].bytes, costs[""].bytes_before] == sizes


def test_the_most_sensitive_layer_comes_first():
    model, params, state = _whole()
    net = fn.functionalize(model)
    x = jax.random.normal(jax.random.key(1), (32, 16))
    target = net.apply(params, state, x)[0]
    count = 0

    def loss(params, state, x):
        nonlocal count
        count += 1
        return F.mse_loss(net.apply(params, state, x)[0], target)

    costs = C.sensitivity(model, params, state, C.Int4(group=None), loss, [x])
    assert count == 1  # traced once for all layers
    assert sorted(row.path for row in costs.rows) == ["0", "2.module", "3"]
    losses = [row.loss for row in costs.rows]
    assert losses == sorted(losses, reverse=True)
    for row in costs.rows:
        few = C.quantize(model, params, state, C.Int4(group=None), row.path)
        exact = F.mse_loss(fn.functionalize(few[0]).apply(*few[1:], x)[0], target)
        np.testing.assert_allclose(row.loss, exact, rtol=1e-4)  # float32
    assert "worse by" in str(costs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: C.quantization_report(w[0], w), r"before must be \(module, params, state\)"),
        (lambda w: C.quantization_report(w, w, X), r"for one batch write \[batch\]"),
        (lambda w: C.sensitivity(*w, C.Int8(), F.mse_loss, [X]), r"loss\(params, state, batch\)"),
        (lambda w: C.sensitivity(*w, C.Int8(), lambda p, s: 0.0, [X]), "runs the model itself"),
        (lambda w: C.sensitivity(*w, C.Int8(), lambda p, s, x: 0.0, X), "for one batch write"),
    ],
    ids=["module", "array", "loss of outputs", "two arguments", "batch"],
)
def test_what_is_something_else_is_met_with_a_sentence(call, words):
    with pytest.raises(TypeError, match=words):
        call(_whole())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: C.quantization_report(w, w), "before, then after"),
        (lambda w: C.sensitivity(*w, C.Int8(), lambda p, s, x: 0.0, []), "there are none"),
        (lambda w: C.sensitivity(*w, C.Int8(), lambda p, s, x: 0.0, [1], "7"), "matches no"),
    ],
    ids=["floats", "no batches", "no layer"],
)
def test_what_cannot_be_is_met_with_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(_whole())
