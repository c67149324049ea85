"""Random keys folded from names, so that one layer's numbers do not depend on its neighbours; random probes."""

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, Key, PyTree
from funcnet.core.errors import MissingKeyError
from funcnet.core.jax_internals.varying_axes import varying_axes
from funcnet.core.leaf_kinds import is_trainable

__all__ = [
    "fold_path",
    "fold_words",
    "is_key",
    "key_for_part",
    "name_hash",
    "probe_diagonal",
    "require_key",
    "signs_like",
]


def name_hash(name: str) -> tuple[int, int]:
    """Hash a name to two 32-bit words, the same on every machine and in every release.

    >>> name_hash("layers.0.weight") == name_hash("layers.0.weight")
    True
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def is_key(value: object) -> bool:
    """Say whether a value is a random key: typed, or an older pair of ``uint32``.

    >>> is_key(jax.random.key(0)), is_key(jnp.ones(3))
    (True, False)
    """
    if not isinstance(value, jax.Array):
        return False
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return bool(typed or (value.dtype == jnp.uint32 and value.ndim == 1 and value.size in (2, 4)))


def fold_words(key: Key, words: ArrayLike) -> Key:
    """Fold the two words of a `name_hash` into a key.

    >>> fold_words(jax.random.key(0), np.array(name_hash("fc.weight"), np.uint32)).shape
    ()
    """
    words = jnp.asarray(words)
    return jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1])


def fold_path(key: Key, path: str) -> Key:
    """Fold a dotted path into a key.

    >>> a = fold_path(jax.random.key(0), "fc.weight")
    >>> b = fold_path(jax.random.key(0), "fc.bias")
    >>> bool((jax.random.key_data(a) == jax.random.key_data(b)).all())
    False
    """
    return fold_words(key, np.array(name_hash(path), np.uint32))


def key_for_part(key: Key, array: Array) -> Key:
    """Return the key to draw numbers with for this device's part of an array.

    Inside `jax.shard_map` a key that all devices share would give each part of a batch the same numbers. So the
    device's place is folded in, along the axes over which the array varies and the key does not. Everywhere else
    the key is returned as it is.

    Args:
        key: for the whole array.
        array: what numbers are drawn for.

    >>> key = jax.random.key(0)
    >>> key_for_part(key, jnp.ones(3)) is key
    True
    """
    axes = tuple(sorted(varying_axes(array) - varying_axes(key)))
    return jax.random.fold_in(key, jax.lax.axis_index(axes)) if axes else key


def require_key(
    function: str, key: Key | None, argument: str = "key", *, like: Array | None = None
) -> Key:
    """Return the key, or say that this function needs one.

    Args:
        function: who needs it.
        key: what it was given.
        argument: the name under which it is given.
        like: the array that numbers are drawn for; see `key_for_part`.

    >>> require_key("dropout", jax.random.key(0)).shape
    ()

    Raises:
        MissingKeyError: there is no key; the message says how to pass one.
    """
    if key is None:
        raise MissingKeyError(
            f"{function} draws random numbers here and was given no key: pass {argument}=, "
            "a fresh key at every step (jax.random.fold_in(key, step))"
        )
    return key if like is None else key_for_part(key, like)


def signs_like(key: Key, tree: PyTree) -> PyTree:
    """Draw independent signs, each ``+1`` or ``-1`` with even odds, for the leaves of a tree.

    Leaves that no gradient moves stay as they are.

    >>> from funcnet.core.keys import signs_like
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

    >>> from funcnet.core.keys import probe_diagonal
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
