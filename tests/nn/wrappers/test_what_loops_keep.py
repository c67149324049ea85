"""What Repeat, Scan and Remat keep for the backward pass; every choice gives the same derivatives."""

import pickle
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet import transforms as T

COPIES, BATCH, LENGTH, WIDTH = 2, 2, 9, 4


class MLP(nn.Module):
    def __init__(self):
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 8), nn.Linear(8, WIDTH)

    def __call__(self, x):
        return x + self.down(nn.GELU()(self.up(self.norm(x))))


class Convolutional(nn.Module):
    def __init__(self):
        self.conv, self.norm = nn.Conv1d(LENGTH, LENGTH, 3, padding=1), nn.BatchNorm1d(LENGTH)

    def __call__(self, x):
        return x + jnp.tanh(self.norm(self.conv(x)))


class Attention(nn.Module):
    def __init__(self):
        self.query, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def __call__(self, x):
        query = self.query(x)
        scores = jnp.einsum("btd,bsd->bts", query, x)
        mixed = jnp.einsum("bts,bsd->btd", jax.nn.softmax(scores), self.value(x))
        return x + T.checkpoint_name(jnp.sin(mixed), "attention")


class Dropped(nn.Module):
    def __init__(self):
        self.linear, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3)

    def __call__(self, x):
        return x + self.drop(jnp.sin(self.linear(x)))


BLOCKS = [MLP, Convolutional, Attention, Dropped]
REMAT = ["costly", True, False, jax.checkpoint_policies.dots_saveable, "nothing"]
# each block with the default, and with another choice in turn
CASES = [(block, "costly") for block in BLOCKS]
CASES += [(Convolutional, True), (Dropped, True), (Attention, REMAT[3])]


def derivatives(module, named):
    """Value, new state, gradient, slopes of both orders, and a batch of inputs."""
    net = fn.functionalize(module)
    params, state = fn.load_state_dict(module, named)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((BATCH, LENGTH, WIDTH)))

    def loss(params, x):
        y, after = net.apply(params, state, x, key=jax.random.key(1), train=True)
        return jnp.sum(jnp.sin(y)), after

    value = lambda params, x: loss(params, x)[0]
    grad = jax.grad(value)
    along = jax.tree.map(jnp.cos, params)
    slope = lambda params: sum(map(jnp.vdot, jax.tree.leaves(grad(params, x)), cosines))
    cosines = jax.tree.leaves(along)

    @jax.jit
    def run(params, x):
        return {
            "value": loss(params, x),
            "gradient": (named_of(grad(params, x)), jax.grad(value, 1)(params, x)),
            "forward": jax.jvp(lambda p: value(p, x), (params,), (along,))[1],
            "forward over reverse": named_of(jax.jvp(lambda p: grad(p, x), (params,), (along,))[1]),
            "reverse over reverse": named_of(jax.grad(slope)(params)),
            "batch": jax.vmap(value, (None, 0))(params, jnp.stack([x, 2 * x])),
        }

    named_of = lambda tree: fn.state_dict(module, tree)
    results = run(params, x)
    value, after = results.pop("value")
    return {"value": value, "state": fn.state_dict(module, params, after), **results}


def wide(x):
    return jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x


@cache
def reference(block):
    module = nn.Sequential(*(block() for _ in range(COPIES)))
    if block is Dropped:  # keys of a sequence's layers are others than those of a loop's
        module = nn.Repeat(block(), COPIES, remat=False)
    params, state = fn.functionalize(module).init(jax.random.key(0))
    named = {name: wide(array) for name, array in fn.state_dict(module, params, state).items()}
    return named, derivatives(module, named)


@pytest.mark.parametrize(("block", "remat"), CASES)
def test_every_choice_gives_the_derivatives_of_a_sequence(block, remat, x64):
    named, expected = reference(block)
    got = derivatives(nn.Repeat(block(), COPIES, remat=remat), named)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        # float64, sums in another order
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def kept(module, x, train=False):
    """Shapes of what the gradient of a module keeps; those of its parameters and buffers are no part."""
    net = fn.functionalize(module)
    params, state = net.init(jax.random.key(0))
    run = lambda params, x: net.apply(params, state, x, key=jax.random.key(1), train=train)[0]
    leaves = jax.tree.leaves(jax.eval_shape(lambda p, x: jax.vjp(run, p, x)[1], params, x))
    own = {leaf.shape for leaf in jax.tree.leaves((params, state))}
    shapes = [(leaf.shape, leaf.dtype.name) for leaf in leaves if hasattr(leaf, "shape")]
    return [(shape, dtype) for shape, dtype in shapes if shape not in own and len(shape) > 2]


SEQUENCE = (COPIES, BATCH, LENGTH, WIDTH)
SCORES = (COPIES, BATCH, LENGTH, LENGTH)


def test_costly_keeps_products_with_weights(x64):
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    shapes = [shape for shape, _ in kept(nn.Repeat(MLP(), COPIES), x)]
    # the input and the product before GELU, and a number a row for the norm; not the last product
    assert shapes.count(SEQUENCE) == 1
    assert shapes.count((COPIES, BATCH, LENGTH, 8)) == 1
    assert all(shape[-1] == 1 for shape in shapes if shape[-1] not in (WIDTH, 8))


def test_costly_keeps_what_is_marked_and_no_attention_scores(x64):
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    shapes = [shape for shape, _ in kept(nn.Repeat(Attention(), COPIES), x)]
    assert SCORES not in shapes
    # the input, two products with weights, the mean that attention takes
    assert shapes.count(SEQUENCE) == 4
    assert SCORES in [shape for shape, _ in kept(nn.Repeat(Attention(), COPIES, remat=False), x)]


def test_costly_keeps_convolutions_and_the_mask_of_dropout():
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    assert len([s for s, _ in kept(nn.Repeat(Convolutional(), COPIES), x) if s == SEQUENCE]) == 2
    masks = [s for s, dtype in kept(nn.Repeat(Dropped(), COPIES), x, train=True) if dtype == "bool"]
    assert masks == [SEQUENCE]


@pytest.mark.parametrize("remat", [True, "nothing"])
def test_computing_all_again_keeps_what_is_between_the_blocks(remat):
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    assert kept(nn.Repeat(MLP(), COPIES, remat=remat), x) == [(SEQUENCE, "float32")]


def test_a_block_that_is_a_remat_says_what_is_kept():
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    plain = kept(nn.Repeat(MLP(), COPIES), x)
    assert kept(nn.Repeat(nn.Remat(MLP()), COPIES), x) == [(SEQUENCE, "float32")]
    assert sorted(kept(nn.Repeat(nn.Remat(MLP(), policy="costly"), COPIES), x)) == sorted(plain)


class Step(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(WIDTH, WIDTH)

    def __call__(self, carry, x):
        carry = jnp.exp(jnp.sin(jnp.cos(self.linear(carry) + x)))
        return carry, carry


@pytest.mark.parametrize("remat", REMAT[:4])
def test_scan_has_the_same_choices(remat, x64):
    xs = jnp.asarray(np.random.default_rng(0).standard_normal((5, BATCH, WIDTH)))

    def run(remat):
        net = fn.functionalize(nn.Scan(Step(), remat=remat))
        params, state = net.init(jax.random.key(0))
        value = lambda params, xs: net.apply(params, state, xs[0], xs)[0][1].sum()
        pull = jax.eval_shape(lambda p, xs: jax.vjp(value, p, xs)[1], params, xs)
        size = sum(leaf.size for leaf in jax.tree.leaves(pull))
        bend = jax.grad(lambda p: jax.jvp(value, (p, xs), (p, xs))[1])
        both = jax.jit(lambda p: (jax.value_and_grad(value, (0, 1))(p, xs), bend(p)))
        return size, both(params)

    size, ours = run(remat)
    most, expected = run(False)
    # float64, sums in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, expected)
    assert size < most or remat is False


@pytest.mark.parametrize(
    "wrap", [lambda **o: nn.Repeat(MLP(), 2, **o), lambda **o: nn.Scan(Step(), **o)]
)
def test_other_choices_raise_where_they_are_made(wrap):
    with pytest.raises(TypeError, match=r"give True .*'costly' .*got 3"):
        wrap(remat=3)
    with pytest.raises(TypeError, match="got None"):
        wrap(remat=None)
    with pytest.raises(ValueError, match="is no policy: policy must be one of 'costly'"):
        wrap(remat="cheap")


def test_remat_takes_the_same_words():
    x = jnp.ones((BATCH, LENGTH, WIDTH))
    run = lambda policy: len(kept(nn.Remat(MLP(), policy=policy), x))
    assert run(None) < run("costly") < run("everything")
    with pytest.raises(ValueError, match="policy must be one of"):
        nn.Remat(MLP(), policy="cheap")
    for flag in (True, False):  # as of Repeat, where False keeps everything and None is refused
        with pytest.raises(TypeError, match="always computes again"):
            nn.Remat(MLP(), policy=flag)


@pytest.mark.parametrize(
    ("make", "name", "inputs"),
    [
        (lambda: nn.MultiheadAttention(4, 2), "implementation", [jnp.ones((3, 2, 4))] * 3),
        (lambda: nn.GroupedQueryAttention(4, 2), "implementation", [jnp.ones((2, 3, 4))]),
        (lambda: nn.Scan(Step()), "remat", [jnp.ones(WIDTH), jnp.ones((3, WIDTH))]),
    ],
)
def test_descriptions_stored_before_the_choice_was_there(make, name, inputs):
    old = make()
    del vars(old)[name]
    old = pickle.loads(pickle.dumps(old))
    outputs: list[Any] = []
    for module in (old, make()):
        net = fn.functionalize(module)
        params, state = net.init(jax.random.key(0), *inputs)
        outputs.append(net.apply(params, state, *inputs)[0])
    jax.tree.map(np.testing.assert_array_equal, *outputs)
