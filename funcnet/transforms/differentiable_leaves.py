"""Which leaves of a tree derivatives run through, and the tree divided into these and constants.

JAX refuses to differentiate with respect to integers, or answers with the placeholder type
``float0``. Here an integer, a boolean or a random key in a tree of parameters is a constant: it is
lifted out before JAX differentiates, and put back, or zeros in its place, afterwards.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.core.leaf_kinds import is_trainable
from funcnet.core.paths import leaves_with_paths, select

__all__ = [
    "Pattern",
    "Selection",
    "chosen_leaves",
    "is_typed_key",
    "split",
]

Selection: TypeAlias = str | Iterable[str] | Callable[[str, Any], bool]
"""Leaves by dotted path: a glob, several globs, or ``predicate(path, leaf)``."""


def is_typed_key(leaf: Any) -> bool:
    """Say whether a leaf is a random key, or an array of them, of JAX's own type for keys."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


def _vanishing(leaf: Any) -> jax.ShapeDtypeStruct | None:
    """Describe the derivative of a constant leaf: zeros of its own type, ``None`` for no array."""
    try:
        aval = jax.typeof(leaf)
    except TypeError:
        return None
    is_key = jnp.issubdtype(aval.dtype, jax.dtypes.extended)
    return jax.ShapeDtypeStruct(aval.shape, jax.dtypes.float0 if is_key else aval.dtype)


def _zeros(spec: jax.ShapeDtypeStruct | None, leading: Sequence[int] = ()) -> Any:
    """Return the zeros that a constant leaf's derivative is, below leading axes if asked."""
    if spec is None:
        return None
    shape = (*leading, *spec.shape)
    if spec.dtype == jax.dtypes.float0:
        return np.zeros(shape, dtype=jax.dtypes.float0)
    return jnp.zeros(shape, dtype=spec.dtype)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Pattern:
    """How one tree divides: its structure, which leaves move, and the zeros of those that do not.

    Attributes:
        treedef: the structure of the whole tree.
        moves: for each leaf, whether derivatives run through it.
        vanishing: for each leaf that stays, what its derivative looks like; ``None`` for others.
    """

    treedef: Any
    moves: tuple[bool, ...]
    vanishing: tuple[jax.ShapeDtypeStruct | None, ...]

    def join(self, moving: Iterable[Any], constants: Iterable[Any]) -> PyTree:
        """Put both kinds of leaves back into one tree."""
        moving, constants = iter(moving), iter(constants)
        leaves = [next(moving if moves else constants) for moves in self.moves]
        return jax.tree.unflatten(self.treedef, leaves)

    def take(self, tree: PyTree) -> list[Any]:
        """List what stands at the moving leaves of a tree of this structure."""
        at_leaves = self.treedef.flatten_up_to(tree)
        return [leaf for leaf, moves in zip(at_leaves, self.moves, strict=True) if moves]

    def fill(self, moving: Iterable[Any], leading: Sequence[int] = ()) -> PyTree:
        """Put derivatives into the tree, and zeros where a leaf is constant."""
        blanks = [_zeros(spec, leading) for spec in self.constants_of(self.vanishing)]
        return self.join(moving, blanks)

    def constants_of(self, leaves: Iterable[Any]) -> list[Any]:
        """List those of the leaves that stay constant."""
        return [leaf for leaf, moves in zip(leaves, self.moves, strict=True) if not moves]


def split(tree: PyTree, wrt: Selection | None = None) -> tuple[Pattern, list[Any], list[Any]]:
    """Divide a tree into its differentiable leaves and its constants.

    Args:
        tree: any pytree; leaves that are not arrays are constants too.
        wrt: which of the differentiable leaves to keep; the others' derivatives are ``None``.

    Returns:
        The pattern, the moving leaves and the constant leaves.

    >>> from funcnet.transforms.differentiable_leaves import split
    >>> pattern, moving, constants = split({"step": 3, "weight": 2.0})
    >>> moving, constants
    ([2.0], [3])
    >>> pattern.join([5.0], constants)
    {'step': 3, 'weight': 5.0}
    """
    leaves, treedef = jax.tree.flatten(tree)
    moves = tuple(map(is_trainable, leaves))
    vanishing: list[Any] = [
        None if move else _vanishing(leaf) for leaf, move in zip(leaves, moves, strict=True)
    ]
    if wrt is not None:
        chosen = chosen_leaves(tree, wrt)
        moves = tuple(move and keep for move, keep in zip(moves, chosen, strict=True))
        vanishing = [spec if keep else None for spec, keep in zip(vanishing, chosen, strict=True)]
    pattern = Pattern(treedef, moves, tuple(vanishing))
    moving = [leaf for leaf, move in zip(leaves, moves, strict=True) if move]
    return pattern, moving, pattern.constants_of(leaves)


def chosen_leaves(tree: PyTree, wrt: Selection) -> list[bool]:
    """Say of each leaf whether the selection names it; a glob that names none raises."""
    named = leaves_with_paths(tree)
    if not callable(wrt) and not isinstance(wrt, Iterable):
        raise TypeError(f"wrt must be a glob, several globs or predicate(path, leaf); got {wrt!r}")
    if callable(wrt):
        return [bool(wrt(path, leaf)) for path, leaf in named]
    chosen = select(wrt, [path for path, _ in named])
    return [path in chosen for path, _ in named]
