"""Initial values: arrays of one shape and one initializer share one compiled draw.

The key of each array is folded from its path, so a new layer changes no other layer's values. Compile
time depends on the number of different shapes, not on the model's depth.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.core.keys import fold_words, name_hash
from funcnet.module.layout import Layout
from funcnet.module.specs import Spec

__all__ = ["draw"]

Kind = tuple[Initializer, tuple[int, ...], Any]


def draw(layout: Layout, specs: dict[str, Spec], key: Key) -> dict[str, Array]:
    """Draw every array of a layout.

    A stacked array gets, layer by layer, the values that its layers would have in a list.

    Args:
        layout: of the module.
        specs: by path, for one layer of a stack, with complete shapes.
        key: the one that the keys of all names are folded from.
    """
    groups: dict[Kind, list[str]] = {}
    for path, spec in specs.items():
        groups.setdefault((_by_value(spec.init), spec.sizes, spec.dtype), []).append(path)
    arrays: dict[str, Array] = {}
    for kind, paths in groups.items():
        names = [layout.names[layout.path_of(_source(layout.specs[path]))][0] for path in paths]
        drawn = _draw_names(kind, key, names)
        for path, layers in zip(paths, drawn, strict=True):
            sizes = layout.sizes[path]
            whole = layers[0] if len(layers) == 1 else layers
            arrays[path] = jnp.reshape(whole, (*sizes, *kind[1])) if sizes else whole
    return arrays


@dataclass(frozen=True)
class _ByValue:
    """A function that equals any other of the same code and the same captured values.

    ``jax.nn.initializers.normal()`` is another object in each layer, and a program for each would be compiled.
    """

    identity: Any
    function: Initializer = field(compare=False)

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.function(key, shape, dtype)

    def __repr__(self) -> str:
        return repr(self.function)


def _by_value(init: Initializer) -> Initializer:
    """Return an initializer that is compared by what it does, where that can be told."""
    identity = _identity_of(init)
    return init if identity is init else _ByValue(identity, init)


def _identity_of(value: Any) -> Any:
    """Return something hashable that is equal for functions that do the same; the value itself if not known."""
    if isinstance(value, partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return (partial, tuple(value.keywords), *map(_identity_of, parts))
    if not isinstance(value, FunctionType):
        return value
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    captured = (*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    identity = (value.__code__, value.__module__, *map(_identity_of, captured))
    try:
        hash(identity)
    except TypeError:  # it captured a list or an array: nobody knows whether two are the same
        return value
    return identity


def _source(spec: Spec) -> Spec:
    """Return the array whose key is used: another's where this one is computed from its draw (weight norm)."""
    return spec if spec.drawn_with is None else spec.drawn_with


def _draw_names(kind: Kind, key: Key, names: list[tuple[str, ...]]) -> list[Any]:
    """Draw, for each tuple of names, the values of its layers."""
    words = [
        np.array([name_hash(name) for name in layers], np.uint32).reshape(-1, 2) for layers in names
    ]
    one: Callable[..., Array] = partial(_draw_one, *kind, key)
    if isinstance(key, jax.core.Tracer) and sum(map(len, words)) > 1:
        # one loop, so that a traced init does not grow with depth
        everything = jax.lax.map(one, jnp.concatenate(words))
        ends = np.cumsum([len(w) for w in words])
        return [everything[end - len(w) : end] for w, end in zip(words, ends, strict=True)]
    return [
        jax.lax.map(one, jnp.asarray(w)) if len(w) > 1 else [one(pair) for pair in w] for w in words
    ]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw_one(
    init: Initializer, shape: tuple[int, ...], dtype: Any, key: Key, words: Array
) -> Array:
    value = jnp.asarray(init(fold_words(key, words), shape, dtype))
    if value.shape != shape:
        raise ValueError(f"an initializer made shape {value.shape}, not {shape}: {init!r}")
    return value
