"""Random probes of matrices that are known only by their products with vectors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Key, PyTree
from funcnet.core.leaf_kinds import is_trainable

__all__ = ["probe_diagonal", "signs_like"]


def signs_like(key: Key, tree: PyTree) -> PyTree:
    """Draw independent signs, each ``+1`` or ``-1`` with even odds, for the leaves of a tree.

    Leaves that no gradient moves stay as they are.

    >>> from funcnet.core.probes import signs_like
    >>> signs_like(jax.random.key(0), {"w": jnp.zeros((2, 3))})["w"].shape
    (2, 3)
    """
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    signs = [
        _signs(one, leaf) if is_trainable(leaf) else leaf
        for one, leaf in zip(keys, leaves, strict=False)
    ]
    return treedef.unflatten(signs)


def _signs(key: Key, leaf: ArrayLike) -> Array:
    return jax.random.rademacher(key, jnp.shape(leaf)).astype(jnp.result_type(leaf))


def probe_diagonal(matvec: Callable[[PyTree], PyTree], like: PyTree, key: Key) -> PyTree:
    r"""Estimate a matrix's diagonal with one vector of signs: :math:`s \odot A s`.

    Its expectation is the diagonal, because :math:`\mathbb E[s_i s_j]` is zero except for
    :math:`i = j`.

    Args:
        matvec: ``v -> A v`` for trees ``v`` of the structure of ``like``.
        like: a tree of that structure; its values are not used.
        key: for the signs.

    Returns:
        The estimate, a tree of the structure of ``like``.

    >>> from funcnet.core.probes import probe_diagonal
    >>> matvec = lambda v: jnp.array([1.0, 2.0]) * v
    >>> probe_diagonal(matvec, jnp.zeros(2), jax.random.key(0)).tolist()
    [1.0, 2.0]

    Reference: Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix", 1989;
    Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", 2007
    """
    signs = signs_like(key, like)
    return jax.tree.map(
        lambda s, product: s * product if is_trainable(s) else s, signs, matvec(signs)
    )
