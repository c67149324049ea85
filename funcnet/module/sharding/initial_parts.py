"""Initial values that are made where they will lie: no device ever holds the whole of an array that is spread.

The values are those of a model that is not sharded, bit for bit: JAX's random bits do not depend on how the
array of them is spread. Small arrays are drawn piece by piece, collected by the host and sent in parts, so that they
need no program each; of large ones every device draws its part.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.core.shardings import constrained
from funcnet.module.initial_values.by_value import by_value
from funcnet.module.initialize import draw_by_recipe, draw_one, words_of
from funcnet.module.layout import Layout
from funcnet.module.sharding.placement import Placement
from funcnet.module.specs import Spec

__all__ = ["draw_in_parts"]

LARGE = 2**20
"""From so many numbers on, each device draws its part of an array."""


def draw_in_parts(
    layout: Layout, specs: dict[str, Spec], key: Key, placement: Placement
) -> dict[str, Array]:
    """Draw every array of a layout, each device its part.

    Args:
        layout: of the module.
        specs: by path, for one layer of a stack, with complete shapes.
        key: the one that the keys of all names are folded from.
        placement: of the module.
    """
    small = {
        path: spec
        for path, spec in specs.items()
        if math.prod((*layout.sizes[path], *spec.sizes)) < LARGE
    }
    arrays = {
        path: _sent(values, placement.sharding(path))
        for path, values in draw_by_recipe(layout, small, key)
    }
    key = constrained(key, placement.whole)
    for path, spec in specs.items():
        if path in arrays:
            continue
        kind = (by_value(spec.init), spec.sizes, spec.dtype)
        program = _program(*kind, layout.sizes[path], placement.sharding(path))
        arrays[path] = program(key, words_of(layout, path))
    return arrays


def _sent(values: np.ndarray, sharding: NamedSharding) -> Array:
    """Send each device its part, as memory of its own: what is known may be shared by many arrays."""
    return jax.make_array_from_callback(
        values.shape, sharding, lambda index: np.array(values[index])
    )


@lru_cache(maxsize=512)
def _program(
    init: Initializer,
    shape: tuple[int, ...],
    dtype: Any,
    sizes: tuple[int, ...],
    sharding: NamedSharding,
) -> Callable[[Key, Any], Array]:
    """Return the program that draws an array, or the layers of a stack one after the other."""
    of_layer = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[len(sizes) :]))

    def one(key: Key, words: Array) -> Array:
        # the constraint keeps each device to its part also within the loop over layers
        return constrained(draw_one(init, shape, dtype, key, words), of_layer)

    def run(key: Key, words: Array) -> Array:
        if not sizes:
            return one(key, words[0])
        return jnp.reshape(jax.lax.map(lambda pair: one(key, pair), words), (*sizes, *shape))

    return jax.jit(run, out_shardings=sharding)
