"""Parameters as one vector and back: PyTorch's, in the order of the tree, of any dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn

TREES = {
    "params": lambda: fn.functionalize(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4))
    ).init(jax.random.key(0))[0],
    "list": lambda: [jnp.arange(6.0).reshape(2, 3), jnp.float32(7), jnp.zeros((0, 2))],
    "constants": lambda: {"a": jnp.ones(2), "n": 3, "none": None, "i": jnp.arange(3), "x": 2.5},
    "dtypes": lambda: {
        "a": jnp.ones(2, jnp.bfloat16),
        "b": jnp.full(1, 2, jnp.float16),
        "c": jnp.zeros(1),
    },
    "half": lambda: {"a": jnp.ones(2, jnp.bfloat16)},
    "complex": lambda: {"a": jnp.ones(2, jnp.complex64) * 1j, "b": jnp.ones(2)},
    "nothing": lambda: {"n": None, "i": 1},
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_comes_back_from_its_vector(name):
    tree = TREES[name]()
    vector = nn.utils.parameters_to_vector(tree)
    back = jax.jit(nn.utils.vector_to_parameters)(vector, tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for old, new in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        assert jnp.result_type(new) == jnp.result_type(old)
        np.testing.assert_array_equal(new, old)
    numbers = sum(nn.utils.parameter_counts(tree).values()) if vector.size else 0
    assert vector.shape == (numbers,)


def test_shapes_alone_are_enough_to_come_back():
    net = fn.functionalize(nn.Linear(3, 4))
    shapes, _ = jax.eval_shape(net.init, jax.random.key(0))
    tree = nn.utils.vector_to_parameters(jnp.arange(16.0), shapes)
    assert tree["weight"].shape == (4, 3)
    assert sum(nn.utils.parameter_counts(shapes).values()) == 16


def test_the_order_and_the_gradient_are_pytorchs(rng):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Conv1d(2, 2, 1))
    theirs = torch.nn.utils.parameters_to_vector(module.parameters())
    ours = [jnp.asarray(p.detach().numpy()) for p in module.parameters()]
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(ours), theirs.detach().numpy())
    vector = rng.standard_normal(theirs.shape).astype(np.float32)
    torch.nn.utils.vector_to_parameters(torch.tensor(vector), module.parameters())
    for p, made in zip(
        module.parameters(), nn.utils.vector_to_parameters(vector, ours), strict=True
    ):
        np.testing.assert_array_equal(made, p.detach().numpy())

    def loss(v):
        return sum((p * p).sum() for p in jax.tree.leaves(nn.utils.vector_to_parameters(v, ours)))

    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(vector)), 2 * vector)
    batch = jax.vmap(nn.utils.vector_to_parameters, (0, None))(jnp.stack([vector, vector]), ours)
    assert batch[0].shape == (2, 4, 3)


@pytest.mark.parametrize("size", [(15,), (17,), (4, 4)])
def test_a_vector_of_another_size_is_refused(size):
    params, _ = fn.functionalize(nn.Linear(3, 4)).init(jax.random.key(0))
    with pytest.raises(ValueError, match="expected a vector of 16 numbers"):
        nn.utils.vector_to_parameters(jnp.zeros(size), params)


@pytest.mark.parametrize("name", ["module", "net"])
@pytest.mark.parametrize(
    "call",
    [
        nn.utils.parameters_to_vector,
        lambda tree: nn.utils.vector_to_parameters(jnp.zeros(16), tree),
        nn.utils.parameter_norms,
        nn.utils.parameter_counts,
        nn.utils.get_total_norm,
        lambda tree: nn.utils.clip_grad_value(tree, 1.0),
        lambda tree: nn.utils.clip_grads_with_norm(tree, 1.0, 1.0),
    ],
    ids=["vector", "tree", "norms", "counts", "total", "value", "known norm"],
)
def test_a_model_in_place_of_its_arrays_is_refused(name, call):
    module = nn.Linear(3, 4)
    with pytest.raises(TypeError, match="takes a tree of arrays"):
        call(module if name == "module" else fn.functionalize(module))


def test_an_iterator_is_refused():
    with pytest.raises(TypeError, match="got a generator, which is read once"):
        nn.utils.parameters_to_vector(p for p in [jnp.ones(3)])


def test_the_vector_comes_first():
    with pytest.raises(TypeError, match="the vector first"):
        nn.utils.vector_to_parameters({"w": jnp.zeros(2)}, jnp.zeros(2))
