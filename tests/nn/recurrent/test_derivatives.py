"""The derivative of the loop over steps, written by hand, against the textbook's cells one after the other.

The reference is differentiated by JAX. Both are asked for every kind of derivative, in float64.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from funcnet.core.jax_internals.programs import trace
from funcnet.functional.recurrent import loop

STEPS, BATCH, INPUTS, UNITS, PROJECTED = 3, 2, 3, 4, 3
LENGTHS = [1, 3]
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "LSTM projected": 4, "GRU": 3}
SETTINGS = list(product([True, False], repeat=3))
SAMPLE = [0, 3, 5, 1, 2]
"""For each kind the settings of a quick run."""


def pytest_generate_tests(metafunc):
    """Each setting on and off; with ``--grid=full`` every kind with all settings together."""
    if "settings" not in metafunc.fixturenames:
        return
    full = metafunc.config.getoption("grid") == "full"
    cases = [
        (kind, settings)
        for number, kind in enumerate(GATES)
        for place, settings in enumerate(SETTINGS)
        if full or place == SAMPLE[number]
    ]
    ids = [
        "-".join([kind, *np.array(["bias", "lengths", "both"])[list(settings)]])
        for kind, settings in cases
    ]
    metafunc.parametrize("kind, settings", cases, ids=ids)


def _textbook(kind, x, state, weights):
    """One step, with the formulas as they are printed."""
    shares = [x @ weights.ih.T, state[0] @ weights.hh.T]
    if weights.bias_ih is not None:
        shares = [shares[0] + weights.bias_ih, shares[1] + weights.bias_hh]
    if kind.startswith("RNN"):
        return ((jnp.tanh if kind == "RNN_TANH" else jax.nn.relu)(shares[0] + shares[1]),)
    sigmoid = lambda x: 1 / (1 + jnp.exp(-x))
    if kind == "GRU":
        (r, z, n), (hr, hz, hn) = (jnp.split(share, 3, -1) for share in shares)
        z = sigmoid(z + hz)
        return ((1 - z) * jnp.tanh(n + sigmoid(r + hr) * hn) + z * state[0],)
    i, f, g, o = jnp.split(shares[0] + shares[1], 4, -1)
    cell = sigmoid(f) * state[1] + sigmoid(i) * jnp.tanh(g)
    hidden = sigmoid(o) * jnp.tanh(cell)
    return hidden if weights.hr is None else hidden @ weights.hr.T, cell


def _naive(kind, x, state, weights, lengths, reverse):
    steps = range(STEPS)[::-1] if reverse else range(STEPS)
    outputs = {}
    for t in steps:
        counts = (jnp.full(BATCH, STEPS) if lengths is None else jnp.array(lengths)) > t
        new = _textbook(kind, x[t], state, weights)
        state = tuple(jnp.where(counts[:, None], *pair) for pair in zip(new, state, strict=True))
        outputs[t] = jnp.where(counts[:, None], state[0], 0)
    return jnp.stack([outputs[t] for t in range(STEPS)]), state


def _sizes(kind):
    return (PROJECTED if kind == "LSTM projected" else UNITS, UNITS)[: 1 + kind.startswith("LSTM")]


def _arguments(kind, bias, both, steps=STEPS):
    """Draw an input, initial states and weights."""
    rng = np.random.default_rng(7)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape))
    rows, hidden = GATES[kind] * UNITS, _sizes(kind)[0]
    weights = [
        F.RecurrentWeights(
            draw(rows, INPUTS),
            draw(rows, hidden),
            draw(rows) if bias else None,
            draw(rows) if bias else None,
            draw(PROJECTED, UNITS) if kind == "LSTM projected" else None,
        )
        for _ in range(1 + both)
    ]
    return (
        draw(steps, BATCH, INPUTS),
        tuple(draw(1 + both, BATCH, size) for size in _sizes(kind)),
        weights,
    )


def _ours(kind, lengths, both):
    mode = kind.split()[0]
    return lambda x, state, weights: F.recurrent(
        mode, x, state, weights, lengths=lengths, bidirectional=both
    )


def _theirs(kind, lengths, both):
    def run(x, states, weights):
        outputs, finals = zip(
            *[
                _naive(kind, x, tuple(part[n] for part in states), weights[n], lengths, n == 1)
                for n in range(1 + both)
            ],
            strict=True,
        )
        return jnp.concatenate(outputs, -1), tuple(map(jnp.stack, zip(*finals, strict=True)))

    return run


def _derivatives(run):
    """Return a function that computes a value and all derivatives of it."""

    def loss(arguments):
        return sum(jnp.sum(jnp.sin(leaf) * leaf) for leaf in jax.tree.leaves(run(*arguments)))

    def along(function, arguments, direction):
        return jax.jvp(function, (arguments,), (direction,))[1]

    @jax.jit
    def all_of_them(arguments, direction):
        forward = jax.jvp(lambda at: run(*at), (arguments,), (direction,))
        over_reverse = jax.jvp(jax.grad(loss), (arguments,), (direction,))
        return {
            "value and forward": forward,
            "gradient and forward over reverse": over_reverse,
            "reverse over forward": jax.grad(lambda at: along(loss, at, direction))(arguments),
            "reverse over reverse": jax.grad(lambda at: _dot(jax.grad(loss)(at), direction))(
                arguments
            ),
        }

    return all_of_them


def _dot(tree, other):
    return sum(jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (tree, other)), strict=True))


def _direction(arguments):
    return jax.tree.map(lambda leaf: jnp.cos(3 * leaf), arguments)


def _assert_equal(ours, theirs):
    for (path, mine), other in zip(
        jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        # float64: sums of some hundred terms in another order
        np.testing.assert_allclose(
            mine, other, rtol=1e-9, atol=1e-9, err_msg=jax.tree_util.keystr(path)
        )


def test_every_derivative_is_that_of_the_textbook(kind, settings, x64):
    bias, with_lengths, both = settings
    lengths = LENGTHS if with_lengths else None
    arguments = _arguments(kind, bias, both)
    ours, theirs = (
        _derivatives(side(kind, lengths, both))(arguments, _direction(arguments))
        for side in (_ours, _theirs)
    )
    _assert_equal(ours, theirs)


@pytest.mark.parametrize("kind", GATES)
def test_one_argument_alone(kind, x64):
    """What is not differentiated changes nothing for what is; and so do others of a batch."""
    arguments = _arguments(kind, True, False)
    run = _ours(kind, None, False)
    loss = lambda *arguments: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(*arguments)))
    whole = jax.jit(jax.grad(loss, (0, 1, 2)))(*arguments)
    alone = jax.jit(lambda *args: tuple(jax.grad(loss, n)(*args) for n in range(3)))(*arguments)
    _assert_equal(alone, whole)
    one = jax.jit(jax.grad(lambda hh: loss(*arguments[:2], [arguments[2][0]._replace(hh=hh)])))
    _assert_equal(one(arguments[2][0].hh), whole[2][0].hh)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arguments)
    batched = jax.jit(jax.vmap(jax.grad(loss, (0, 1, 2))))(*twice)
    _assert_equal(jax.tree.map(lambda leaf: leaf[1], batched), whole)


@pytest.mark.parametrize("kind", ["RNN_TANH", "LSTM projected", "GRU"])
def test_steps_in_blocks_are_the_same_steps(kind, x64, monkeypatch):
    """Also where the last block is a shorter one."""
    arguments = _arguments(kind, True, True, steps=5)
    run = _ours(kind, [5, 3], True)
    loss = lambda arguments: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(*arguments)))
    results = []
    for block in (1, 2):
        monkeypatch.setattr(loop, "steps_in_a_block", lambda mode, block=block: block)
        results.append(jax.jit(jax.value_and_grad(lambda at: loss(at)))(arguments))
    _assert_equal(*results)


def _products(program, in_loop=False):
    """Yield the shape of every matrix product's result, and whether a loop forms it at each turn."""
    for operation in program.operations:
        if operation.product is not None:
            yield in_loop, operation.results[0].shape
        if operation.called is not None:
            yield from _products(operation.called, in_loop)
        if operation.control is not None:
            yield from _products(operation.control.body, True)


@pytest.mark.parametrize("kind", GATES)
def test_gradients_of_weights_are_products_outside_of_loops(kind):
    """A sum over the steps that a loop accumulates would read and write the whole weight each step."""
    x, state, weights = jax.tree.map(np.float32, _arguments(kind, True, False))
    run = _ours(kind, None, False)
    loss = lambda *arguments: jnp.sum(run(*arguments)[0] ** 2)
    program, _ = trace(jax.grad(loss, (0, 1, 2)), x, state, weights)
    found = list(_products(program))
    assert {shape[0] for in_loop, shape in found if in_loop} == {BATCH}
    outside = [shape for in_loop, shape in found if not in_loop]
    for weight in (weights[0].ih, weights[0].hh, weights[0].hr):
        assert weight is None or outside.count(weight.shape) >= 1
