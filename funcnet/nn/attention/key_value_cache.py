"""A key-value cache: what attention remembers of earlier positions while it decodes."""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_non_negative, check_positive

__all__ = ["KeyValueCache"]


class KeyValueCache(NamedTuple):
    """Keys and values of earlier positions, in arrays of fixed size: a pytree to carry through a loop.

    Attributes:
        key: shape ``(*, H, capacity, E)``; positions from ``length`` on are not yet filled.
        value: shape ``(*, H, capacity, Ev)``.
        length: how many positions are filled, an int32 scalar.

    All sequences of a batch have one length. For prompts of several lengths, ``jax.vmap`` over
    sequences with a cache each.

    Example:
        >>> cache = nn.KeyValueCache.empty((2, 4), 16, 8)
        >>> cache = cache.append(jnp.ones((2, 4, 3, 8)), jnp.ones((2, 4, 3, 8)))
        >>> cache.key.shape, int(cache.length)
        ((2, 4, 16, 8), 3)
    """

    key: Array
    value: Array
    length: Array

    @property
    def capacity(self) -> int:
        """How many positions there is room for."""
        return self.key.shape[-2]

    @classmethod
    def empty(
        cls,
        leading: tuple[int, ...],
        capacity: int,
        features: int,
        value_features: int | None = None,
        dtype: DType = jnp.float32,
    ) -> "KeyValueCache":
        """Make a cache without any position.

        Args:
            leading: the axes before the positions, such as ``(N, heads)``.
            capacity: how many positions there is room for.
            features: of a key.
            value_features: of a value; by default as many.
            dtype: of keys and values.

        Raises:
            ValueError: there is room for no position, or a size is negative.

        Example:
            >>> nn.KeyValueCache.empty((4,), 16, 8).value.shape
            (4, 16, 8)
        """
        check_positive("capacity", capacity)
        check_non_negative("features", features)
        wide = features if value_features is None else value_features
        return cls(
            jnp.zeros((*leading, capacity, features), dtype),
            jnp.zeros((*leading, capacity, wide), dtype),
            jnp.zeros((), jnp.int32),
        )

    def append(self, key: Array, value: Array) -> "KeyValueCache":
        """Return the cache with further positions written behind those it has.

        Beyond the capacity it cannot raise once compiled; then it writes NaN, so that no output
        looks right that is not.

        Args:
            key: shape ``(*, H, L, E)``.
            value: shape ``(*, H, L, Ev)``.

        Raises:
            ValueError: shapes do not fit, or the positions do not.

        Example:
            >>> cache = nn.KeyValueCache.empty((), 2, 3)
            >>> cache.append(jnp.ones((1, 3)), jnp.ones((1, 3))).key[:, 0].tolist()
            [1.0, 0.0]
        """
        steps = key.shape[-2]
        for name, new, old in (("key", key, self.key), ("value", value, self.value)):
            if new.shape != (*old.shape[:-2], steps, old.shape[-1]):
                raise ValueError(
                    f"a {name} of shape {new.shape} cannot join a cache of shape {old.shape}"
                )
        concrete = not isinstance(self.length, jax.core.Tracer)
        filled = int(self.length) if concrete else 0
        if filled + steps > self.capacity:
            raise ValueError(
                f"{steps} positions do not fit behind the {filled} of a cache with room for "
                f"{self.capacity}: make it with a larger capacity"
            )
        fits = self.length + steps <= self.capacity
        return KeyValueCache(
            self._written(self.key, key, fits),
            self._written(self.value, value, fits),
            self.length + steps,
        )

    def _written(self, old: Array, new: Array, fits: Array) -> Array:
        new = jnp.where(fits, new.astype(old.dtype), jnp.nan)
        return jax.lax.dynamic_update_slice_in_dim(old, new, self.length, -2)

    def mask(self, steps: int) -> Array:
        """Return which positions each of the last ``steps`` appended may attend to: ``(steps, capacity)``.

        Example:
            >>> ones = jnp.ones((3, 1))
            >>> nn.KeyValueCache.empty((), 4, 1).append(ones, ones).mask(2).tolist()
            [[True, True, False, False], [True, True, True, False]]
        """
        shape = (steps, self.capacity)
        query = jax.lax.broadcasted_iota(jnp.int32, shape, 0) + (self.length - steps)
        return jax.lax.broadcasted_iota(jnp.int32, shape, 1) <= query
