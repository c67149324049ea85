"""The walk over the leaves: dtypes, complex numbers, leaves without a gradient.

Arithmetic is real and has at least 32 bits, whatever the arrays are: leaves of 16 bits are widened
and their results rounded once; complex arrays become real ones with a last axis of length two.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree

__all__ = ["Move"]

Move = Callable[[Array, Any, dict[str, Array]], tuple[Array, dict[str, Array]]]
"""``move(gradient, parameter, slots) -> (update, slots)``, for one array."""


def is_trainable(leaf: Any) -> bool:
    """Tell arrays that a gradient moves from ``None``, integers, booleans and keys.

    Example:
        >>> is_trainable(jnp.ones(2)), is_trainable(jnp.arange(2))
        (True, False)
    """
    if leaf is None or getattr(leaf, "dtype", None) == jax.dtypes.float0:
        return False
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


def compute_dtype(dtype: Any) -> Any:
    """Choose the dtype of the arithmetic: real, and at least 32 bits.

    Example:
        >>> compute_dtype(jnp.bfloat16), compute_dtype(jnp.complex64)
        (dtype('float32'), dtype('float32'))
    """
    return np.promote_types(jnp.finfo(dtype).dtype, jnp.float32)


def init_slots(slots: Callable[[Array], dict[str, Array]], params: PyTree) -> dict[str, PyTree]:
    """Make each leaf's slots and turn them inside out: by name, then by path.

    Example:
        >>> init_slots(lambda p: {"m": jnp.zeros_like(p)}, {"w": jnp.ones(2)})["m"]["w"].tolist()
        [0.0, 0.0]
    """
    leaves, treedef = jax.tree.flatten(params, is_leaf=_is_none)
    each = [slots(jnp.asarray(p)) if is_trainable(p) else {} for p in leaves]
    names = dict.fromkeys(name for one in each for name in one)
    return {name: treedef.unflatten([one.get(name) for one in each]) for name in names}


class Leaves:
    """The leaves of one update, side by side: gradients, parameters, slots, extra trees."""

    def __init__(
        self,
        name: str,
        grads: PyTree,
        params: PyTree,
        slots: dict[str, PyTree],
        extra: dict[str, PyTree],
    ) -> None:
        self.grads, self.treedef = jax.tree.flatten(grads, is_leaf=_is_none)
        self.name = name
        no_params = [None] * len(self.grads)
        self.params = no_params if params is None else self._aligned("parameters", params)
        self.slots = {slot: self._aligned(f"slots {slot!r}", tree) for slot, tree in slots.items()}
        self.extra = {key: self._aligned(key, tree) for key, tree in extra.items()}
        self.active = [
            i
            for i, (g, p) in enumerate(zip(self.grads, self.params, strict=True))
            if is_trainable(g) and (params is None or is_trainable(p))
        ]

    def _aligned(self, what: str, tree: PyTree) -> list[Any]:
        try:
            return self.treedef.flatten_up_to(tree)
        except ValueError as error:
            raise ValueError(
                f"{self.name}: {what} and gradients differ in structure ({error})"
            ) from None

    def _inputs(self, i: int) -> tuple[Any, Array, Any, dict[str, Array]]:
        """Give a leaf's dtype of arithmetic, gradient, parameter and slots, all converted."""
        g, p = jnp.asarray(self.grads[i]), self.params[i]
        dtype = compute_dtype(jnp.result_type(g if p is None else p))
        mine = {
            name: _to_compute(jnp.asarray(values[i]), dtype)
            for name, values in (*self.slots.items(), *self.extra.items())
            if values[i] is not None
        }
        p = None if p is None else _to_compute(jnp.asarray(p), dtype)
        return dtype, _to_compute(g, dtype), p, mine

    def move(self, move_of: Callable[[Any], Move]) -> tuple[PyTree, dict[str, PyTree]]:
        """Run ``move_of(dtype)`` on every leaf that has a gradient; the others stay as they are."""
        updates = list(self.grads)
        new = {slot: list(values) for slot, values in self.slots.items()}
        for i in self.active:
            dtype, g, p, mine = self._inputs(i)
            update, moved = move_of(dtype)(g, p, mine)
            like = self.grads[i] if p is None else self.params[i]
            updates[i] = _to_storage(update, jnp.result_type(like))
            for slot, value in moved.items():
                new[slot][i] = _to_storage(value, self.slots[slot][i].dtype)
        moved_slots = {slot: self.treedef.unflatten(values) for slot, values in new.items()}
        return self.treedef.unflatten(updates), moved_slots

    def sums(self, measure_of: Callable[[Any], Callable[..., dict[str, Array]]]) -> dict[str, Any]:
        """Add up, over all leaves, the numbers that ``measure_of(dtype)`` gives for each."""
        totals: dict[str, Array] = {}
        for i in self.active:
            dtype, g, p, mine = self._inputs(i)
            for name, value in measure_of(dtype)(g, p, mine).items():
                value = value.astype(float)
                totals[name] = totals[name] + value if name in totals else value
        return totals


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _to_compute(x: Array, dtype: Any) -> Array:
    if jnp.iscomplexobj(x):
        x = jnp.stack([x.real, x.imag], axis=-1)
    return x if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(dtype)


def _to_storage(x: Array, like: Any) -> Array:
    if jnp.issubdtype(like, jnp.complexfloating):
        x = jax.lax.complex(x[..., 0], x[..., 1])
    return x if x.dtype == like else x.astype(like)
