"""Equinox modules and Flax NNX states are trees like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

X = jnp.sin(jnp.arange(12.0)).reshape(4, 3)


def equinox_problem():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        first: eqx.nn.Linear
        scale: jax.Array
        steps: jax.Array
        name: str = eqx.field(static=True)

        def __call__(self, x):
            return jnp.tanh(self.first(x)) * self.scale

    net = Net(eqx.nn.Linear(3, 2, key=jax.random.key(0)), jnp.float32(0.5), jnp.array(7), "net")
    return net, lambda net, x: (net(x) ** 2).sum()


def nnx_problem():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 2, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(jnp.tanh(self.first(x)))

    net = Net(nnx.Rngs(0))
    net.eval()
    graph, state = nnx.split(net)
    return state, lambda state, x: (nnx.merge(graph, state)(x) ** 2).sum()


PROBLEMS = {"equinox": equinox_problem, "nnx": nnx_problem}


def is_inexact(leaf):
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def inexact(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]


def reference(tree, loss, x):
    """Value and gradient of the moving leaves by JAX alone."""
    leaves, treedef = jax.tree.flatten(tree)
    where = [index for index, leaf in enumerate(leaves) if is_inexact(leaf)]

    def of_moving(moving):
        filled = list(leaves)
        for index, leaf in zip(where, moving, strict=True):
            filled[index] = leaf
        return loss(treedef.unflatten(filled), x)

    return jax.jit(jax.value_and_grad(of_moving))([leaves[index] for index in where])


@pytest.fixture(params=PROBLEMS)
def problem(request):
    with jax.numpy_dtype_promotion("standard"):  # what those libraries are written for
        yield PROBLEMS[request.param]()


def close(a, b):
    # float32: sums of some twenty products in another order, which are absolute where terms of about one cancel
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gradients_keep_the_structure(problem):
    tree, loss = problem
    value, grads = jax.jit(T.value_and_grad(loss))(tree, X[0])
    expected, slopes = reference(tree, loss, X[0])
    close(value, expected)
    assert jax.tree.structure(grads) == jax.tree.structure(tree)
    assert type(grads) is type(tree)
    for ours, theirs in zip(inexact(grads), slopes, strict=True):
        close(ours, theirs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_transform_takes_them(problem):
    tree, loss = problem
    expected, slopes = reference(tree, loss, X[0])
    tangents = jax.tree.map(lambda leaf: jnp.ones_like(leaf) if is_inexact(leaf) else leaf, tree)
    slope = sum(leaf.sum() for leaf in slopes)

    def everything(tree):
        at = lambda tree: loss(tree, X[0])
        value, forward = T.jvp(at, (tree,), (tangents,))
        _, push = T.linearize(at, tree)
        _, pull = T.vjp(at, tree)
        (backward,) = pull(jnp.ones_like(value))
        jacobian = T.jacrev(lambda tree: at(tree)[None])(tree)
        return {
            "values": [value, T.jit(at)(tree), T.checkpoint(at)(tree), T.nan_guard(at)(tree)],
            "slopes": [forward, push(tangents)]
            + [sum(leaf.sum() for leaf in inexact(part)) for part in (backward, jacobian)],
            "batch": T.vmap(loss, (None, 0), chunk_size=2)(tree, X),
            "parts": T.value_and_grad(
                lambda tree, batch: jax.vmap(loss, (None, 0))(tree, batch).mean(), microbatches=2
            )(tree, X)[0],
            "curvature": T.hvp(at, (tree,), (tangents,))[0],
            "norms": T.per_example_norms(loss)(tree, X),
        }

    found = jax.jit(everything)(tree)
    for value in [*found["values"], found["curvature"]]:
        close(value, expected)
    for each in found["slopes"]:
        close(each, slope)
    batch = jax.jit(jax.vmap(loss, (None, 0)))(tree, X)
    close(found["batch"], batch)
    close(found["parts"], batch.mean())
    for norm, x in zip(found["norms"], X, strict=True):
        gradient = reference(tree, loss, x)[1]
        close(norm, np.sqrt(sum((leaf**2).sum() for leaf in gradient)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_partition_stack_and_update(problem):
    tree, loss = problem
    selected, rest = T.partition(tree, lambda path, leaf: is_inexact(leaf) and leaf.ndim == 2)
    assert len(jax.tree.leaves(selected)) == 1
    merged = T.merge(selected, rest)
    close(loss(merged, X[0]), loss(tree, X[0]))
    stacked = T.stack([tree, tree])
    values = jax.vmap(loss, (0, None))(stacked, X[0])
    close(values, [loss(tree, X[0])] * 2)


def test_an_equinox_module_with_functions_among_its_leaves():
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    loss = lambda net, x: (net(x) ** 2).sum()
    grads = T.grad(loss)(net, X[0])
    expected = eqx.filter_grad(loss)(net, X[0])
    jax.tree.map(close, grads, expected)
    assert grads.activation is None
    updated = eqx.apply_updates(net, jax.tree.map(lambda g: -0.1 * g, grads))
    assert loss(updated, X[0]) < loss(net, X[0])
