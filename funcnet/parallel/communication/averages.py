"""What a step returns beside gradients, averaged over devices: metrics, and a model's state."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcnet.core.aliases import Array, PyTree
from funcnet.core.dtypes import is_float
from funcnet.core.paths import leaves_with_paths
from funcnet.parallel.communication.axes import MeshAxes
from funcnet.parallel.communication.reductions import shared, sum_over
from funcnet.transforms.differentiable_leaves import is_typed_key

__all__ = ["average_aux", "average_changes", "mean_of_parts"]


def average_aux(aux: PyTree, axis: MeshAxes, share: Array | float, name: str) -> PyTree:
    """Average what a function returns beside its loss: means over the rows of each device.

    Args:
        aux: real or complex numbers.
        axis: the mesh axis, or several.
        share: this device's share of the whole; a device without a share may hold NaN.
        name: of what is averaged, for the message.

    Raises:
        TypeError: there are integers, of which a mean makes no sense.
    """
    for path, leaf in leaves_with_paths(aux):
        if not is_float(leaf, complex=True):
            raise TypeError(
                f"{name} holds {path or 'a value'} of dtype {jnp.result_type(leaf)}, of which no mean over "
                "devices can be taken. Return a mean over the rows as a float; the model's new "
                'state belongs first, with threaded="state"'
            )
    leaves, treedef = jax.tree.flatten(aux)
    return treedef.unflatten(sum_over([shared(leaf, share) for leaf in leaves], axis, like=leaves))


def mean_of_parts(leaf: Array, shares: Array) -> Array:
    """Average what the parts of a batch returned; one of integers is left for the error message."""
    if not is_float(leaf, complex=True):
        return leaf
    column = shares.reshape(-1, *[1] * (leaf.ndim - 1))
    return shared(leaf, column).sum(0).astype(leaf.dtype)


def average_changes(old: PyTree, new: PyTree, axis: MeshAxes, share: Array | float) -> PyTree:
    """Average what each device changed a state by, so that what does not change stays the same number.

    Args:
        old: the state before, the same on all devices.
        new: the state after, this device's own. Of integers and booleans the largest is taken.
        axis: the mesh axis, or several.
        share: this device's share of the whole.

    Raises:
        TypeError: the state holds a random key, which devices have folded with their numbers.
    """
    before, treedef = jax.tree.flatten(old)
    after = [jnp.asarray(leaf) for leaf in treedef.flatten_up_to(new)]
    before = [_like(b, a) for b, a in zip(before, after, strict=True)]
    floats = [i for i, leaf in enumerate(after) if is_float(leaf, complex=True)]
    changes = {i: jnp.where(after[i] == before[i], 0, after[i] - before[i]) for i in floats}
    sums = sum_over([shared(change, share) for change in changes.values()], axis)
    for i, change in zip(floats, sums, strict=True):
        moved = (before[i].astype(change.dtype) + change).astype(after[i].dtype)
        after[i] = jnp.where(change == 0, before[i], moved)
    for i, leaf in enumerate(after):
        if i not in changes:
            after[i] = _largest(leaf, axis)
    return treedef.unflatten(after)


def _like(old: Any, new: Array) -> Any:
    return jnp.asarray(old).astype(new.dtype) if is_float(new, complex=True) else old


def _largest(leaf: Array, axis: MeshAxes) -> Array:
    if is_typed_key(leaf):
        raise TypeError(
            "a random key in the state is another one on each device, so that none is left: keep keys "
            "out of the state and pass one as an argument"
        )
    if leaf.dtype == jnp.bool_:
        return lax.pmax(leaf.astype(jnp.int32), axis) > 0
    return lax.pmax(leaf, axis)
