"""Random keys folded from names, so that one layer's numbers do not depend on its neighbours."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import ArrayLike, Key
from funcnet.core.errors import MissingKeyError

__all__ = ["fold_path", "fold_words", "is_key", "name_hash", "require_key"]


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


def require_key(function: str, key: Key | None, argument: str = "key") -> Key:
    """Return the key, or say that this function needs one.

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
    return key
