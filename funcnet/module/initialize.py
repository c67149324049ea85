"""Initial values: arrays of one shape and one initializer share one compiled draw.

The key of each array is folded from its path, so a new layer changes no other layer's values. Compile
time depends on the number of different shapes, not on the model's depth.
"""

from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.core.keys import fold_words, name_hash
from funcnet.module.specs import Spec

__all__ = ["draw"]

Kind = tuple[Initializer, tuple[int, ...], Any]


def draw(specs: dict[str, Spec], shapes: dict[str, tuple[int, ...]], key: Key) -> dict[str, Array]:
    """Draw every array of a layout.

    Args:
        specs: by path.
        shapes: by path, complete.
        key: the one that the keys of all paths are folded from.
    """
    groups: dict[Kind, list[str]] = {}
    for path, spec in specs.items():
        groups.setdefault((spec.init, shapes[path], spec.dtype), []).append(path)
    arrays: dict[str, Array] = {}
    for (init, shape, dtype), paths in groups.items():
        words = np.array([name_hash(path) for path in paths], np.uint32)
        one = partial(_draw_one, init, shape, dtype, key)
        if isinstance(key, jax.core.Tracer) and len(paths) > 1:
            # one loop, so that a traced init does not grow with depth
            drawn = list(jax.lax.map(one, jnp.asarray(words)))
        else:
            drawn = [one(pair) for pair in words]
        arrays.update(zip(paths, drawn, strict=True))
    return arrays


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw_one(
    init: Initializer, shape: tuple[int, ...], dtype: Any, key: Key, words: Array
) -> Array:
    value = jnp.asarray(init(fold_words(key, words), shape, dtype))
    if value.shape != shape:
        raise ValueError(f"an initializer made shape {value.shape}, not {shape}: {init!r}")
    return value
