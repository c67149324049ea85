"""Initial values: arrays of one shape and one initializer are drawn together.

The key of each array is folded from its path, so a new layer changes no other layer's values; drawing
equal ones in one `vmap` keeps compile time independent of the model's depth.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.core.keys import fold_paths
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
    plan = tuple((kind, tuple(paths)) for kind, paths in groups.items())
    return _draw_all(plan, key)


@partial(jax.jit, static_argnums=0)
def _draw_all(plan: tuple[tuple[Kind, tuple[str, ...]], ...], key: Key) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for kind, paths in plan:
        arrays.update(zip(paths, _draw_kind(kind, paths, key), strict=True))
    return arrays


def _draw_kind(kind: Kind, paths: tuple[str, ...], key: Key) -> list[Array]:
    init, shape, dtype = kind
    keys = fold_paths(key, list(paths))

    def one(key: Key) -> Array:
        value = jnp.asarray(init(key, shape, dtype))
        if value.shape != shape:
            raise ValueError(f"the initializer of {paths[0]} made shape {value.shape}, not {shape}: {init!r}")
        return value

    if len(paths) == 1:
        return [one(keys[0])]
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or jax.random.key_impl(key) == "fry":
        return list(jax.vmap(one)(keys))
    return [one(k) for k in keys]  # under vmap other generators' numbers depend on their neighbours
