"""Norms by path and in all, and clipping, against PyTorch's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim

ORDERS = [2.0, 1, 3, 1.5, 0, math.inf, -math.inf, -1.0]
MAX_NORMS = [0.5, 100.0, 0.0]


def grads(rng, dtype=np.float32):
    shapes = {"a": (2, 3), "b": (4,), "c": ()}
    return {name: jnp.asarray(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}


def theirs(tree, torch):
    tensors = [torch.zeros(x.shape, requires_grad=True) for x in tree.values()]
    for tensor, x in zip(tensors, tree.values(), strict=True):
        tensor.grad = torch.tensor(np.array(x))
    return tensors


@pytest.mark.parametrize("order", ORDERS)
def test_norms_are_pytorchs(rng, order):
    torch = pytest.importorskip("torch")
    tree = grads(rng)
    expected = torch.nn.utils.get_total_norm([t.grad for t in theirs(tree, torch)], order)
    # float32, sums of ten numbers
    np.testing.assert_allclose(
        jax.jit(nn.utils.get_total_norm, static_argnums=1)(tree, order), expected, rtol=1e-6
    )
    for path, norm in nn.utils.parameter_norms(tree, norm_type=order).items():
        each = torch.linalg.vector_norm(torch.tensor(np.array(tree[path])), order)
        np.testing.assert_allclose(norm, each, rtol=1e-6)


@pytest.mark.parametrize("max_norm", MAX_NORMS)
@pytest.mark.parametrize("order", [2.0, 1, math.inf])
def test_clipping_is_pytorchs(rng, order, max_norm):
    torch = pytest.importorskip("torch")
    tree = grads(rng)
    tensors = theirs(tree, torch)
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm, order)
    clipped, norm = jax.jit(nn.utils.clip_grad_norm, static_argnums=2)(tree, max_norm, order)
    np.testing.assert_allclose(norm, expected, rtol=1e-6)
    for ours, tensor in zip(clipped.values(), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=1e-6)
    tensors = theirs(tree, torch)
    torch.nn.utils.clip_grad_value_(tensors, max_norm)
    for ours, tensor in zip(
        nn.utils.clip_grad_value(tree, max_norm).values(), tensors, strict=True
    ):
        np.testing.assert_array_equal(ours, tensor.grad)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sixteen_bits_are_summed_in_32_and_stay(dtype):
    tree = {"a": jnp.full(5000, 100, dtype), "n": None, "i": jnp.arange(3)}
    norm = nn.utils.get_total_norm(tree)
    assert norm.dtype == jnp.float32
    np.testing.assert_allclose(norm, 100 * math.sqrt(5000), rtol=1e-5)
    clipped, _ = nn.utils.clip_grad_norm(tree, 1.0)
    assert clipped["a"].dtype == dtype
    assert clipped["n"] is None
    np.testing.assert_array_equal(clipped["i"], tree["i"])


def test_the_gradient_of_a_norm_is_finite_everywhere(rng):
    slopes = jax.jit(
        lambda tree: [jax.grad(nn.utils.get_total_norm)(tree, order) for order in (2.0, 1.5)]
    )
    for tree in (grads(rng), jax.tree.map(np.zeros_like, grads(rng))):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes(tree)))
    fn.check_grads(jax.jit(nn.utils.get_total_norm), (grads(rng),))


def test_paths_and_nothing():
    params, _ = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))).init(
        jax.random.key(0)
    )
    assert list(nn.utils.parameter_norms(params, ["1.*", "0.bias"])) == [
        "0.bias",
        "1.bias",
        "1.weight",
    ]
    with pytest.raises(ValueError, match="matches no path"):
        nn.utils.parameter_norms(params, "2.*")
    assert float(nn.utils.get_total_norm({"n": None})) == 0
    for wrong in (nn.utils.clip_grad_norm, nn.utils.clip_grad_value):
        with pytest.raises(ValueError, match="negative"):
            wrong(params, -1.0)


def test_rows_of_an_embedding_count_once():
    rows = optim.RowSparse(jnp.array([1, 1]), jnp.array([[3.0], [1.0]]))
    assert float(nn.utils.get_total_norm([rows])) == 4
    clipped, _ = nn.utils.clip_grad_norm([rows], 2.0)
    np.testing.assert_allclose(
        clipped[0].values, [[1.5], [0.5]], rtol=1e-5
    )  # 1e-6 is added to the norm
