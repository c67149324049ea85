"""Trees divided by path and merged again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

PARAMS = {
    "body": [{"weight": jnp.ones(2)}, {"weight": jnp.ones(3), "none": None}],
    "head": {"weight": jnp.ones(2), "bias": jnp.zeros(1)},
}


@pytest.mark.parametrize(
    ("wrt", "count"),
    [
        ("head.*", 2),
        ("*.weight", 3),
        (["head.bias", "body.0.*"], 2),
        (lambda path, leaf: leaf.size > 2, 1),
    ],
)
def test_parts_merge_to_the_whole(wrt, count):
    selected, rest = T.partition(PARAMS, wrt)
    assert len(jax.tree.leaves(selected)) == count
    assert len(jax.tree.leaves(rest)) == 4 - count
    merged = T.merge(selected, rest)
    assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
    assert all(map(lambda a, b: a is b, jax.tree.leaves(merged), jax.tree.leaves(PARAMS)))


def test_an_optimizer_of_the_selected_part_never_sees_the_rest():
    optax = pytest.importorskip("optax")

    def loss(params):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(params))

    trained, frozen = T.partition(PARAMS, "head.*")
    optimizer = optax.adam(0.1)
    state = optimizer.init(trained)
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(T.grad(loss, wrt="head.*")(PARAMS), state, trained)
    grads = T.grad(loss, wrt="head.*")(PARAMS)
    assert jax.tree.structure(grads) == jax.tree.structure(trained)
    new = T.merge(optax.apply_updates(trained, updates), frozen)
    assert new["body"][0]["weight"] is PARAMS["body"][0]["weight"]
    assert not np.array_equal(new["head"]["weight"], PARAMS["head"]["weight"])
    assert len(jax.tree.leaves(state)) == 1 + 2 * 2


def test_errors():
    with pytest.raises(ValueError, match=r"pattern 'tail\.\*' matches no path; there are: body"):
        T.partition(PARAMS, "tail.*")
    with pytest.raises(ValueError, match="merge got 2 values for one leaf"):
        T.merge({"a": 1}, {"a": 2})
