"""Trees of inputs in every form, and the dtypes of their arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.export import spec


class Pair(NamedTuple):
    """A named tuple, as caches are."""

    second: object
    first: object


DTYPES = ("float32", "bfloat16", "float16", "int32", "int8", "uint8", "uint32", "bool", "complex64")
WIDE = ("float64", "int64", "uint64")

SHAPES = {
    "fixed": (2, 3),
    "scalar": (),
    "open": ("batch", 2),
    "empty": (0, 3),
    "twice": ("2*batch", "batch"),
}

STRUCTURES = {
    "array": lambda a: a,
    "dict": lambda a: {"z": a, "a": a},
    "list": lambda a: [a, a],
    "tuple": lambda a: (a, (a,)),
    "none": lambda a: {"no": None, "yes": a, "nothing": {}},
    "named": lambda a: Pair(a, {"x": a}),
    "deep": lambda a: {"b": [(a, {"c": None})], "a": ({"d": [a]},)},
}


def specs_of(structure, shape, dtype):
    return STRUCTURES[structure](spec(SHAPES[shape], dtype))


def arrays_of(specs, size, rng):
    def draw(each):
        lengths = [{"batch": size, "2*batch": 2 * size}.get(n, n) for n in each.shape]
        made = rng.standard_normal(lengths) * 3
        if jnp.issubdtype(each.dtype, jnp.unsignedinteger) or each.dtype == bool:
            made = np.abs(made)
        return jnp.asarray(np.asarray(made).astype(each.dtype))

    return jax.tree.map(draw, specs, is_leaf=lambda each: hasattr(each, "symbols"))


def as_dicts(tree):
    """What a loaded function returns where the function itself returned named tuples."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return {name: as_dicts(value) for name, value in tree._asdict().items()}
    if isinstance(tree, dict):
        return {name: as_dicts(value) for name, value in tree.items()}
    return type(tree)(map(as_dicts, tree)) if type(tree) in (list, tuple) else tree


def assert_same_trees(got, expected):
    expected = as_dicts(expected)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
