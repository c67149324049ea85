"""Weight and spectral normalization against PyTorch's parametrizations, and how they start."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from tests.parity import Layer, check


def _row(kind, layer, args, shape, **settings):
    def build(library):
        if library.__name__.startswith("torch"):
            parametrize = getattr(library.utils.parametrizations, kind)
        else:
            parametrize = getattr(library.parametrizations, kind)
        return parametrize(getattr(library, layer)(*args), **settings)

    shown = ",".join(f"{name}={value}" for name, value in settings.items())
    return Layer(
        f"{kind}:{layer}", build=build, inputs=[shape], note=f" {shown}", vmap=False, dtypes=False
    )


LINEAR, CONV, BACK = (
    ("Linear", (4, 3), (5, 4)),
    ("Conv2d", (2, 3, 2), (2, 2, 3, 3)),
    ("ConvTranspose1d", (2, 3, 2), (2, 2, 4)),
)
ROWS = [
    *(_row("weight_norm", *layer) for layer in (LINEAR, CONV, BACK)),
    _row("weight_norm", *LINEAR, dim=None),
    _row("weight_norm", *CONV, dim=1),
    _row("weight_norm", *LINEAR, name="bias"),
    *(_row("spectral_norm", *layer) for layer in (LINEAR, CONV, BACK)),
    _row("spectral_norm", *LINEAR, n_power_iterations=3, eps=1e-6),
    _row("spectral_norm", *CONV, dim=1),
    _row("spectral_norm", *LINEAR, name="bias"),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row):
    check(row)


def _bound(layer):
    return fn.bind(layer, *fn.functionalize(layer).init(jax.random.key(0)))


def test_weight_norm_starts_as_the_plain_layer():
    plain = _bound(nn.Sequential(nn.Linear(4, 3)))[0].bias
    model = _bound(nn.Sequential(nn.parametrizations.weight_norm(nn.Linear(4, 3))))[0]
    direction = model.parametrizations["weight"].original1
    np.testing.assert_allclose(model.weight, direction, rtol=1e-6)  # a norm's rounding
    np.testing.assert_array_equal(model.bias, plain)


def test_spectral_norm_starts_near_the_largest_singular_value():
    model = _bound(nn.parametrizations.spectral_norm(nn.Linear(20, 40)))
    # fifteen steps of the power method, as PyTorch takes, leave some per cent
    assert abs(np.linalg.norm(model.weight, 2) - 1) < 0.1


def test_several_parametrizations_apply_in_order():
    class Doubled(nn.Module):
        def __call__(self, x):
            return 2 * x

    layer = nn.parametrizations.spectral_norm(nn.Linear(4, 4))
    once = _bound(layer).weight
    twice = _bound(nn.parametrizations.register_parametrization(layer, "weight", Doubled())).weight
    np.testing.assert_array_equal(twice, 2 * once)


def test_copies_and_types():
    layer = nn.parametrizations.weight_norm(nn.Linear(4, 3))
    assert isinstance(layer, nn.Linear)
    other = copy.deepcopy(layer)
    params, state = fn.functionalize(nn.ModuleList([layer, other])).init(jax.random.key(0))
    first, second = (params[name]["parametrizations"]["weight"]["original1"] for name in "01")
    assert not np.array_equal(first, second)
    assert state == {}


def test_no_gradient_through_the_power_method():
    layer = nn.parametrizations.spectral_norm(nn.Linear(3, 3))
    net = fn.functionalize(layer)
    params, state = net.init(jax.random.key(0))

    def total(params, train):
        output, _ = net.apply(params, state, jnp.ones((1, 3)), train=train)
        return output.sum()

    grads = jax.grad(total)(params, True)
    assert np.isfinite(grads["parametrizations"]["weight"]["original"]).all()


@pytest.mark.parametrize(
    "arguments", [{"name": "missing"}, {"dim": 2}, {"n_power_iterations": 0}], ids=str
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=r"missing|dim|n_power_iterations"):
        nn.parametrizations.spectral_norm(nn.Linear(3, 3), **arguments)
    with pytest.raises(ValueError, match="missing"):
        nn.parametrizations.weight_norm(nn.Linear(3, 3), "missing")


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_norms_of_16_bit_weights_are_taken_in_32_bits(kind):
    layer = getattr(nn.parametrizations, kind)(nn.Linear(1024, 2, bias=False, dtype=jnp.float16))
    params, state = fn.functionalize(layer).init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, 300.0), params)  # squares overflow
    assert jnp.isfinite(fn.bind(layer, params, state).weight).all()

    def total(params):
        return fn.bind(layer, params, state).weight.astype(jnp.float32).mean()

    for leaf in jax.tree.leaves(jax.grad(total)(params)):
        assert leaf.dtype == jnp.float16
        assert jnp.isfinite(leaf).all()
