"""What functions leave in memory for their gradient: one array like their input, and a little a row."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.functional import activations
from tests.meta.source import PACKAGE

ROWS, FEATURES = 64, 128
KEY = jax.random.key(0)
TARGET = jnp.arange(ROWS)
WEIGHT = jnp.ones(FEATURES)

NEED_MORE = {
    "softmax": lambda x: F.softmax(x, -1),
    "softmin": lambda x: F.softmin(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "gumbel_softmax": None,  # its noise is an array too
    "threshold": lambda x: F.threshold(x, 0.1, 2.0),
    "prelu": lambda x: F.prelu(x, WEIGHT),
}
"""Activations that are not called with their input alone."""


def _activations():
    for path in sorted((PACKAGE / "functional" / "activations").glob("[a-z]*.py")):
        module = __import__(f"{activations.__name__}.{path.stem}", fromlist=["__all__"])
        for name in module.__all__:
            yield name, NEED_MORE.get(name, getattr(F, name))


OTHERS = {
    "gelu tanh": lambda x: F.gelu(x, "tanh"),
    "layer_norm": lambda x: F.layer_norm(x, FEATURES, WEIGHT, WEIGHT),
    "rms_norm": lambda x: F.rms_norm(x, FEATURES, WEIGHT),
    "group_norm": lambda x: F.group_norm(x, 4, WEIGHT, WEIGHT),
    "dropout": lambda x: F.dropout(x, 0.1, key=KEY),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.1, True, key=KEY),
    "dropout1d": lambda x: F.dropout1d(x.reshape(8, 8, -1), 0.1, key=KEY),
    "cross_entropy": lambda x: F.cross_entropy(x, TARGET),
    "cross_entropy smoothed": lambda x: F.cross_entropy(x, TARGET, label_smoothing=0.1),
    "nll_loss": lambda x: F.nll_loss(x, TARGET),
}
FUNCTIONS = {name: call for name, call in _activations() if call is not None} | OTHERS

MASKS = ("relu", "hardshrink", "threshold", "dropout", "alpha_dropout", "dropout1d", "nll_loss")
"""Those that need to remember one byte an element at most."""


def residual_bytes(function, *arguments):
    """Count the bytes of all arrays that the gradient keeps."""
    pull = jax.eval_shape(lambda *arguments: jax.vjp(function, *arguments)[1], *arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pull))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_keeps_one_array_like_its_input(name, dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((ROWS, FEATURES)), dtype)
    # weights, targets, and a few numbers for each row or group
    beside = 4 * 4 * ROWS * 4 + 2 * WEIGHT.nbytes
    most = x.size if name in MASKS else x.nbytes
    assert residual_bytes(FUNCTIONS[name], x) <= most + beside


def test_every_activation_is_counted():
    exported = [
        name
        for name, value in vars(F).items()
        if inspect.isfunction(value) and ".functional.activations." in value.__module__
    ]
    assert set(exported) - {"gumbel_softmax"} <= set(FUNCTIONS)


@pytest.mark.parametrize("name", ["gelu", "softmax", "layer_norm", "rms_norm", "cross_entropy"])
def test_derivatives_of_every_kind_agree(name, x64):
    """Forward and reverse mode, both second orders, and a batch, in one compiled program."""
    function = FUNCTIONS[name]
    x = jnp.asarray(np.random.default_rng(0).standard_normal((ROWS, FEATURES)))
    along = jnp.cos(x)
    value = lambda x: jnp.sum(jnp.sin(function(x)))
    grad = jax.grad(value)

    @jax.jit
    def run(x):
        slope = jax.jvp(value, (x,), (along,))[1]
        bend = jax.jvp(grad, (x,), (along,))[1]
        both = jax.grad(lambda x: jnp.vdot(grad(x), along))(x)
        batch = jax.vmap(grad)(jnp.stack([x, -x]))
        return grad(x), slope, bend, both, batch

    gradient, slope, bend, both, batch = run(x)
    step = 1e-5 * along
    # float64: sums of eight thousand numbers in another order; central differences
    np.testing.assert_allclose(slope, jnp.vdot(gradient, along), rtol=1e-10)
    np.testing.assert_allclose(bend, both, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(batch[0], gradient, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slope, (value(x + step) - value(x - step)) / 2e-5, rtol=1e-6)
    expected = (grad(x + step) - grad(x - step)) / 2e-5
    np.testing.assert_allclose(bend, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_gate_is_computed_again_in_one_program_too():
    """Between two products the compiler would keep the hyperbolic tangent beside the input and the output."""

    def run(gelu):
        def loss(weights, x):
            for weight in weights:
                x = gelu(x @ weight)
            return x.sum()

        weights, x = [jnp.ones((256, 256))] * 6, jnp.ones((512, 256))
        compiled = jax.jit(jax.grad(loss)).lower(weights, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert run(lambda x: F.gelu(x, "tanh")) < 0.9 * run(lambda x: jax.nn.gelu(x, approximate=True))
