"""One rule, run leaf by leaf: dtypes, complex numbers, leaves without a gradient.

Arithmetic is real and has at least 32 bits, whatever the arrays are: leaves of 16 bits are wide_copy
and their results rounded once; complex arrays become real ones with a last axis of length two.
Leaves that are in that form already, which is most of them, are handed on as they are. What is remembered is
stored in 32 bits at least (`leaf_rule.py`).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import at_least_float32
from funcnet.core.leaf_kinds import is_none, is_trainable
from funcnet.optim.leaf_rule import is_gradient, jax_leaf, require_shape
from funcnet.optim.row_sparse import RowSparse

__all__ = ["Move", "Slots"]

Slots: TypeAlias = dict[str, Array]
"""What an optimizer remembers of one parameter, by name."""

Move = Callable[[Array, Any, Slots], tuple[Array, Slots]]
"""``move(gradient, parameter, slots) -> (update, slots)``, for one array."""

Measure = Callable[[Array, Any, Slots], dict[str, Array]]
"""``measure(gradient, parameter, slots) -> numbers`` to add up over all leaves."""

# Leaves without a dtype, or with one but without the methods and the arithmetic of JAX.
_FOREIGN = (np.ndarray, np.generic, bool, int, float, complex)


@lru_cache(maxsize=256)
def compute_dtype(dtype: Any) -> Any:
    """Choose the dtype of the arithmetic: real, and at least 32 bits.

    Example:
        >>> compute_dtype(jnp.bfloat16), compute_dtype(jnp.complex64)
        (dtype('float32'), dtype('float32'))
    """
    return at_least_float32(jnp.finfo(dtype).dtype)


def init_slots(slots: Callable[[Array], Slots], params: PyTree) -> dict[str, PyTree]:
    """Make each leaf's slots, in 32 bits at least, and turn them inside out: by name, then by path.

    Example:
        >>> init_slots(lambda p: {"m": jnp.zeros_like(p)}, {"w": jnp.ones(2)})["m"]["w"].tolist()
        [0.0, 0.0]
    """
    leaves, treedef = jax.tree.flatten(params, is_leaf=is_none)
    if leaves and all(callable(leaf) for leaf in leaves):
        raise TypeError(
            f"init takes the parameters, a tree of arrays; got {type(params).__name__}: write "
            "params, state = net.init(key); opt_state = optimizer.init(params)"
        )
    each = [slots(_widest_form(p)) if is_trainable(p) else {} for p in leaves]
    # Which names there are depends on the optimizer alone, not on the shapes of the leaves: a tree without
    # leaves may stand for one that has some (`optax.tree.map_params` asks so). None has no slot of a name.
    names = {**_names(slots), **dict.fromkeys(name for one in each for name in one)}
    return {name: treedef.unflatten([one.get(name) for one in each]) for name in names}


def _names(slots: Callable[[Array], Slots]) -> dict[str, None]:
    """Name the slots of a scalar, a vector, a matrix, and so on: some have one for each axis."""
    names: dict[str, None] = {}
    for shape in ((1,) * axes for axes in range(7)):
        try:
            names.update(
                dict.fromkeys(jax.eval_shape(slots, jax.ShapeDtypeStruct(shape, jnp.float32)))
            )
        except ValueError:
            # An optimizer may refuse some shapes.
            continue
    return names


def _widest_form(p: Any) -> Array:
    p = jax_leaf(p)
    dtype = at_least_float32(p.dtype)
    return p if p.dtype == dtype else p.astype(dtype)


class Leaves:
    """The leaves of one update, side by side: gradients, parameters, slots, extra trees.

    Attributes:
        active: the positions of the leaves that a gradient moves.
        stored: the dtype of each of them, in which its update is returned.
    """

    def __init__(
        self,
        name: str,
        grads: PyTree,
        params: PyTree,
        slots: dict[str, PyTree],
        extra: dict[str, PyTree],
        reads_params: bool = True,
    ) -> None:
        self.grads, self.treedef = jax.tree.flatten(grads, is_leaf=is_gradient)
        self.name = name
        no_params: list[Any] = [None] * len(self.grads)
        self.params = no_params if params is None else self._aligned("parameters", params)
        self.slots = {slot: self._aligned(f"slots {slot!r}", tree) for slot, tree in slots.items()}
        others = {key: self._aligned(key, tree) for key, tree in extra.items()}
        self.remembered = {**self.slots, **others}
        self.rows: dict[int, Array] = {}
        for i, g in enumerate(self.grads):
            if isinstance(g, RowSparse):
                self._take_apart(i, g, reads_params)
        owners: list[Any] = self.grads if params is None else self.params
        self.active = [
            i
            for i, (g, owner) in enumerate(zip(self.grads, owners, strict=True))
            if is_trainable(g) and (owner is g or is_trainable(owner))
        ]
        for i in self.active:
            g, p = self.grads[i], self.params[i]
            # Compared here, so that a call more is made for none but a wrong one.
            if p is not None and jnp.shape(g) != jnp.shape(p):
                require_shape(name, g, jnp.shape(p))
        # Asked directly where there is an attribute: `result_type` costs as much as an operation.
        self.stored = {
            i: jnp.result_type(owners[i]) if isinstance(owners[i], _FOREIGN) else owners[i].dtype
            for i in self.active
        }

    def _aligned(self, what: str, tree: PyTree) -> list[Any]:
        try:
            return self.treedef.flatten_up_to(tree)
        except ValueError as error:
            raise ValueError(
                f"{self.name}: {what} and gradients differ in structure ({error})"
            ) from None

    def _take_apart(self, i: int, g: RowSparse, reads_params: bool) -> None:
        """Keep the values of the rows of a gradient, each once, or where that is not enough the whole array."""
        p = self.params[i]
        if reads_params or any(column[i] is not None for column in self.remembered.values()):
            if p is None:
                raise ValueError(
                    f"{self.name}: a RowSparse gradient is made a whole array here, whose shape only the "
                    "parameters tell: call update(grads, state, params)"
                )
            self.grads[i] = g.add_to(jnp.zeros(jnp.shape(p), g.values.dtype))
            return
        # A row number beyond any array's stands for no row.
        g = g.coalesced(jnp.iinfo(g.rows.dtype).max if p is None else jnp.shape(p)[0])
        self.rows[i], self.grads[i] = g.rows, g.values
        self.params[i] = None if p is None else g.values

    def _row(self, i: int, dtype: Any) -> tuple[Array, Any, Slots]:
        """Give a leaf's gradient, parameter and slots, all in the form of the arithmetic."""
        g, p = self.grads[i], self.params[i]
        mine = {name: column[i] for name, column in self.remembered.items()}
        for x in (g, p, *mine.values()):
            if x is None or isinstance(x, _FOREIGN) or x.dtype != dtype:
                break
        else:
            return g, p, mine
        p = None if p is None else _to_compute(p, dtype)
        mine = {name: _to_compute(x, dtype) for name, x in mine.items() if x is not None}
        return _to_compute(g, dtype), p, mine

    def move(self, move_of: Callable[[Any], Move]) -> tuple[PyTree, dict[str, PyTree]]:
        """Run ``move_of(dtype)`` on every leaf that has a gradient; the others stay as they are."""
        updates = list(self.grads)
        new = {slot: list(column) for slot, column in self.slots.items()}
        for i in self.active:
            stored = self.stored[i]
            dtype = compute_dtype(stored)
            try:
                update, moved = move_of(dtype)(*self._row(i, dtype))
            except (TypeError, ValueError) as error:
                self._explain(i, error)
                raise
            updates[i] = update if update.dtype == stored else _to_storage(update, stored)
            for slot, x in moved.items():
                like = self.slots[slot][i].dtype
                new[slot][i] = x if x.dtype == like else _to_storage(x, like)
        for i, rows in self.rows.items():
            updates[i] = RowSparse(rows, updates[i])
        moved_slots = {slot: self.treedef.unflatten(column) for slot, column in new.items()}
        return self.treedef.unflatten(updates), moved_slots

    def _explain(self, i: int, error: Exception) -> None:
        """Note, on an error of arithmetic, that a gradient has another shape than what is remembered of it."""
        shape = jnp.shape(self.grads[i])
        moments = {slot: jnp.shape(column[i]) for slot, column in self.slots.items()}
        others = [
            other for other in moments.values() if len(other) == len(shape) and other != shape
        ]
        if others:
            error.add_note(
                f"{self.name}: a gradient has shape {shape}, and the optimizer's state is of a parameter of shape"
                f" {others[0]}. Make it of the parameters that are there now: optimizer.init(params)"
            )

    def sums(self, measure_of: Callable[[Any], Measure]) -> dict[str, Any]:
        """Add up, over all leaves, the numbers that ``measure_of(dtype)`` gives for each."""
        totals: dict[str, Array] = {}
        for i in self.active:
            dtype = compute_dtype(self.stored[i])
            for name, value in measure_of(dtype)(*self._row(i, dtype)).items():
                value = value.astype(float)
                totals[name] = totals[name] + value if name in totals else value
        return totals


def _to_compute(x: Any, dtype: Any) -> Array:
    x = jax_leaf(x)
    if jnp.iscomplexobj(x):
        x = jnp.stack([x.real, x.imag], axis=-1)
    return x if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(dtype)


def _to_storage(x: Array, like: Any) -> Array:
    if jnp.issubdtype(like, jnp.complexfloating):
        x = jax.lax.complex(x[..., 0], x[..., 1])
    return x if x.dtype == like else x.astype(like)
