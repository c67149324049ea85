"""Initial values: from the key of each array, which is folded from its path.

So a new layer changes no other layer's values. Where an initializer tells how it makes its values, arrays of
all shapes share a program for each distribution, and what is known needs none; other initializers have a
program for each shape. Both give the same values, bit for bit, and so does an init that is traced.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.core.keys import fold_words, name_hash
from funcnet.module.initial_values.by_value import by_value
from funcnet.module.initial_values.flat_draws import (
    Draw,
    drawn_values,
    folded_words,
    threefry_words,
)
from funcnet.module.initial_values.recipes import FlatDraw, KnownValues, Recipe, TellsRecipe
from funcnet.module.layout import Layout
from funcnet.module.specs import Spec

__all__ = ["draw", "draw_by_recipe", "draw_one", "words_of"]

Kind = tuple[Initializer, tuple[int, ...], Any]


def draw(layout: Layout, specs: dict[str, Spec], key: Key) -> dict[str, Array]:
    """Draw every array of a layout.

    A stacked array gets, layer by layer, the values that its layers would have in a list.

    Args:
        layout: of the module.
        specs: by path, for one layer of a stack, with complete shapes.
        key: the one that the keys of all names are folded from.
    """
    device = _device_of(key)
    put = partial(jax.device_put, device=device, may_alias=False)
    found = draw_by_recipe(layout, specs, key, device)
    arrays: dict[str, Array] = {path: put(values) for path, values in found}
    others = {path: spec for path, spec in specs.items() if path not in arrays}
    return arrays | _draw_by_kind(layout, others, key)


def words_of(layout: Layout, path: str) -> np.ndarray:
    """Return the two words of each layer of an array that are folded into the key."""
    spec = layout.specs[path]
    # another's where this one is computed from its draw (weight norm)
    source = spec if spec.drawn_with is None else spec.drawn_with
    names = layout.names[layout.path_of(source)][0]
    return np.array([name_hash(name) for name in names], np.uint32).reshape(-1, 2)


# ---- arrays whose initializer tells a recipe: they share programs


def _device_of(key: Key) -> Any:
    """Return the device that a key is bound to; None if it is to none, or to several."""
    if isinstance(key, jax.core.Tracer) or not key.committed or len(key.sharding.device_set) > 1:
        return None
    return next(iter(key.sharding.device_set))


def draw_by_recipe(
    layout: Layout, specs: dict[str, Spec], key: Key, device: Any = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the values of those arrays whose initializer tells a recipe, one array after the other.

    Args:
        layout: of the module.
        specs: by path, for one layer of a stack, with complete shapes.
        key: the one that the keys of all names are folded from; nothing is drawn by one that is traced.
        device: where to draw.
    """
    key_words = threefry_words(key)
    if key_words is None:
        return
    families: dict[Any, list[tuple[str, Draw]]] = {}
    for path, spec in specs.items():
        recipe = _recipe_of(spec)
        if isinstance(recipe, KnownValues):
            yield path, np.broadcast_to(recipe.values, (*layout.sizes[path], *spec.sizes))
        elif recipe is not None:
            words = folded_words(key_words, words_of(layout, path))
            one = Draw(recipe, spec.dtype, math.prod(spec.sizes), words)
            families.setdefault((recipe.sample, spec.dtype), []).append((path, one))
    for family in families.values():
        paths, draws = zip(*family, strict=True)
        for path, one, values in zip(paths, draws, drawn_values(draws, device), strict=True):
            shape = (*layout.sizes[path], *specs[path].sizes)
            yield path, _edited(one.recipe, values, specs[path].sizes).reshape(shape)


def _recipe_of(spec: Spec) -> Recipe | None:
    return spec.init.recipe(spec.sizes, spec.dtype) if isinstance(spec.init, TellsRecipe) else None


def _edited(recipe: FlatDraw, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Change what is drawn, layer by layer, if the initializer says so."""
    if recipe.edit is not None:
        for layer in values:
            recipe.edit(layer.reshape(shape))
    return values


# ---- other arrays: those of one shape and one initializer share a program


def _draw_by_kind(layout: Layout, specs: dict[str, Spec], key: Key) -> dict[str, Array]:
    groups: dict[Kind, list[str]] = {}
    for path, spec in specs.items():
        groups.setdefault((by_value(spec.init), spec.sizes, spec.dtype), []).append(path)
    arrays: dict[str, Array] = {}
    for kind, paths in groups.items():
        drawn = _draw_words(kind, key, [words_of(layout, path) for path in paths])
        for path, layers in zip(paths, drawn, strict=True):
            sizes = layout.sizes[path]
            whole = layers[0] if len(layers) == 1 else layers
            arrays[path] = jnp.reshape(whole, (*sizes, *kind[1])) if sizes else whole
    return arrays


def _draw_words(kind: Kind, key: Key, words: list[np.ndarray]) -> list[Any]:
    """Draw, for each array of words, the values of its layers."""
    one: Callable[..., Array] = partial(draw_one, *kind, key)
    if isinstance(key, jax.core.Tracer) and sum(map(len, words)) > 1:
        # one loop, so that a traced init does not grow with depth
        everything = jax.lax.map(one, jnp.concatenate(words))
        ends = np.cumsum([len(w) for w in words])
        return [everything[end - len(w) : end] for w, end in zip(words, ends, strict=True)]
    return [
        jax.lax.map(one, jnp.asarray(w)) if len(w) > 1 else [one(pair) for pair in w] for w in words
    ]


@partial(jax.jit, static_argnums=(0, 1, 2))
def draw_one(
    init: Initializer, shape: tuple[int, ...], dtype: Any, key: Key, words: Array
) -> Array:
    """Draw one array, or one layer of a stack, with the key that its name's words give."""
    value = jnp.asarray(init(fold_words(key, words), shape, dtype))
    if value.shape != shape:
        raise ValueError(f"an initializer made shape {value.shape}, not {shape}: {init!r}")
    return value
