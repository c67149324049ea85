"""capture, intervene and functional_call: parts of a model seen and replaced by path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import StateDictError, TransformScopeError


class Block(nn.Module):
    def __init__(self):
        self.attention = nn.Linear(3, 3)
        self.mlp = nn.Linear(3, 3)

    def __call__(self, x):
        return x + self.mlp(jnp.tanh(self.attention(x)))


class Net(nn.Module):
    def __init__(self):
        self.blocks = [Block(), Block()]
        self.head = nn.Linear(3, 2)

    def __call__(self, x, *, twice=False):
        for block in self.blocks:
            x = block(x)
        return self.head(self.head.weight.T @ self.head(x)) if twice else self.head(x)


NET = fn.functionalize(Net())
PARAMS, STATE = NET.init(jax.random.key(0))
X = jnp.array([0.1, 0.2, 0.3])


def test_capture_returns_outputs_by_path():
    seeing = fn.capture(NET, ["*.attention", "head"])
    (output, captured), state = jax.jit(seeing.apply)(PARAMS, STATE, X)
    assert set(captured) == {"blocks.0.attention", "blocks.1.attention", "head"}
    # float32, rounded once or twice
    np.testing.assert_allclose(output, NET.apply(PARAMS, STATE, X)[0], rtol=1e-6)
    np.testing.assert_array_equal(captured["head"], output)
    first = PARAMS["blocks"]["0"]["attention"]
    expected = first["weight"] @ X + first["bias"]
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0.attention"], expected, rtol=1e-6)
    assert state == STATE
    assert jax.tree.structure(seeing.init(jax.random.key(1))) == jax.tree.structure((PARAMS, STATE))


def test_a_module_called_twice_is_captured_twice():
    (output, captured), _ = fn.capture(NET, "head").apply(PARAMS, STATE, X, twice=True)
    assert list(captured) == ["head", "head#2"]
    np.testing.assert_array_equal(captured["head#2"], output)


def test_gradients_of_what_is_captured():
    seeing = fn.capture(NET, "blocks.0")
    loss = lambda params: seeing.apply(params, STATE, X)[0][1]["blocks.0"].sum()
    grads = jax.jit(jax.grad(loss))(PARAMS)
    assert np.any(grads["blocks"]["0"]["mlp"]["weight"])
    assert not np.any(grads["blocks"]["1"]["mlp"]["weight"])


def test_under_vmap():
    seeing = fn.capture(NET, "blocks.*")
    (_, captured), _ = jax.vmap(seeing.apply, (None, None, 0))(PARAMS, STATE, jnp.stack([X, X]))
    assert captured["blocks.1.mlp"].shape == (2, 3)


def test_intervene_replaces_outputs():
    ablated = fn.intervene(NET, {"*.mlp": jnp.zeros_like, "head": lambda y: y * 2})
    output, _ = jax.jit(ablated.apply)(PARAMS, STATE, X)
    head = PARAMS["head"]
    # float32, rounded once or twice
    np.testing.assert_allclose(output, 2 * (head["weight"] @ X + head["bias"]), rtol=1e-6)


def test_they_compose_either_way():
    edit = {"blocks.0": lambda y: y + 1.0}
    seen_after = fn.capture(fn.intervene(NET, edit), "blocks.0")
    edited_after = fn.intervene(fn.capture(NET, "blocks.0"), edit)
    plain = fn.capture(NET, "blocks.0").apply(PARAMS, STATE, X)[0][1]["blocks.0"]
    (output, captured), _ = seen_after.apply(PARAMS, STATE, X)
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0"], plain + 1.0, rtol=1e-6)
    (again, captured), _ = edited_after.apply(PARAMS, STATE, X)
    # float32, rounded once or twice
    np.testing.assert_allclose(captured["blocks.0"], plain, rtol=1e-6)
    np.testing.assert_allclose(again, output, rtol=1e-6)  # float32, rounded once or twice


def test_inside_a_scan_it_refuses():
    class Scanned(nn.Module):
        def __init__(self):
            self.cell = nn.Linear(3, 3)

        def __call__(self, x):
            return jax.lax.scan(lambda c, _: (self.cell(c), None), x, length=2)[0]

    net = fn.functionalize(Scanned())
    params, state = net.init(jax.random.key(0))
    with pytest.raises(TransformScopeError, match="capturing cell inside a transform"):
        fn.capture(net, "cell").apply(params, state, X)


def test_errors():
    with pytest.raises(ValueError, match=r"matches no path; there are: blocks\.0"):
        fn.capture(NET, "tail")
    with pytest.raises(ValueError, match="pattern 'tail' matches no path"):
        fn.intervene(NET, {"tail": jnp.zeros_like})
    with pytest.raises(TypeError, match=r"takes what fn\.functionalize"):
        fn.capture(fn.Functional(lambda key: ({}, {}), lambda p, s: (0, s)), "head")


def test_functional_call():
    layer = nn.BatchNorm1d(3)
    params, state = fn.functionalize(layer).init(jax.random.key(0))
    arrays = fn.state_dict(layer, params, state)
    x = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(
        fn.functional_call(layer, arrays, x), layer_output(layer, params, state, x)
    )
    parts = (
        {k: v for k, v in arrays.items() if k in ("weight", "bias")},
        {k: v * 1 for k, v in arrays.items() if "_" in k},
    )
    trained = fn.functional_call(layer, parts, (x,), train=True)
    # float32: four terms of size one cancel
    np.testing.assert_allclose(trained.mean(0), np.zeros(3), atol=1e-6)
    linear = {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(2)}
    grads = jax.vmap(
        jax.grad(lambda a, x: fn.functional_call(nn.Linear(3, 2), a, x).sum()), (None, 0)
    )
    assert grads(linear, x)["weight"].shape == (4, 2, 3)
    with pytest.raises(StateDictError, match="missing: bias"):
        fn.functional_call(nn.Linear(3, 2), {"weight": jnp.ones((2, 3))}, x)
    with pytest.raises(StateDictError, match="unexpected: scale"):
        fn.functional_call(nn.Linear(3, 2), {**linear, "scale": 1.0}, x, strict=True)
    fn.functional_call(nn.Linear(3, 2), {**linear, "scale": 1.0}, x)


def layer_output(layer, params, state, x):
    return fn.functionalize(layer).apply(params, state, x)[0]
