"""Random numbers from bits that are there already."""

from typing import Any, NoReturn

import jax
from jax.extend import random as random_extensions

__all__ = ["ROW", "THREEFRY_KEYS", "key_of_bits"]

ROW = 1024
"""How many numbers a key of `key_of_bits` can draw."""

THREEFRY_KEYS: Any = random_extensions.threefry_prng_impl
"""JAX's programs for its own kind of keys. Why: an exporter writes what they are made of, which is whole numbers."""


def key_of_bits(bits: jax.Array) -> jax.Array:
    """Return a key whose next draw of `ROW` numbers uses these bits.

    Why: the bits of an array are hashes of places, which can be had for many arrays in one program; how
    bits become numbers is JAX's to say, so that they stay those of `jax.random`. When it goes away: do not
    share programs between arrays.

    >>> from funcnet.core.jax_internals.random_bits import ROW, key_of_bits
    >>> bits = jax.random.bits(jax.random.key(0), (ROW,))
    >>> same = jax.random.normal(key_of_bits(bits), (ROW,)) == jax.random.normal(jax.random.key(0), (ROW,))
    >>> bool(same.all())
    True
    """
    return jax.random.wrap_key_data(bits, impl=_OWN_BITS)


def _own_bits(bits: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    if bit_width != 32 or shape != bits.shape:
        raise NotImplementedError(f"only {bits.size} numbers of 32 bits can be drawn, once")
    return bits


def _no_more_keys(*arguments: Any) -> NoReturn:
    raise NotImplementedError("no key is made of these bits: they are drawn once")


_OWN_BITS: Any = random_extensions.define_prng_impl(
    key_shape=(ROW,),
    seed=_no_more_keys,
    split=_no_more_keys,
    random_bits=_own_bits,
    fold_in=_no_more_keys,
    name="funcnet_own_bits",
    tag="fnb",
)
