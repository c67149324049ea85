"""What a metric's state is made of: totals that add up exactly, in any order, on any number of devices.

A count in float32 stops at 2^24, one in int32 overflows at 2^31, and a float32 sum of many batches loses digits. So
a `Count` has 64 bits in two words, a `Total` carries its rounding errors along, and `Moments` are merged around
their means. Each has ``merge(other)`` and ``reduce(axis_name)``, the sum over the devices of a mesh's axis.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from funcnet.core.aliases import Array

__all__ = ["Count", "Moments", "Total", "concrete", "from_all_devices", "two_sum"]

AxisName = str | tuple[str, ...]


def concrete(array: Any) -> bool:
    """Say whether an array's values can be read: not while a function is traced.

    >>> concrete(jnp.ones(2))
    True
    """
    return not isinstance(array, Tracer)


def from_all_devices(array: Array, axis_name: AxisName) -> Array:
    """Gather an array from all devices of an axis, inside ``jax.shard_map``: one more axis in front.

    A sum of arrays that are zero in the others' places, not a gather, because JAX then knows that all
    devices hold the same.
    """
    if array.dtype == bool:
        return from_all_devices(array.astype(jnp.int32), axis_name) > 0
    there = jnp.arange(lax.axis_size(axis_name), dtype=jnp.int32) == lax.axis_index(axis_name)
    there = there.reshape(-1, *(1,) * array.ndim)
    return lax.psum(jnp.where(there, array[None], jnp.zeros((), array.dtype)), axis_name)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Add two floats and return the sum's rounding error too: ``a + b == total + error`` exactly.

    Where the sum is not finite the error is zero, so that an infinite total stays one.

    >>> tuple(float(part) for part in two_sum(jnp.float32(2.0**24), jnp.float32(1.0)))
    (16777216.0, 1.0)

    Reference: Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B.
    """
    total = a + b
    shift = total - a
    error = (a - (total - shift)) + (b - shift)
    return total, lax.select(lax.is_finite(total), error, lax.full_like(error, 0))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Count:
    """Whole numbers below 2^64, in two words of 32 bits: exact, whatever ``jax_enable_x64`` says."""

    low: Array
    high: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...] = ()) -> "Count":
        """Start with nothing counted."""
        return cls(jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32))

    def add(self, increment: Array) -> "Count":
        """Add numbers below 2^31: one batch's."""
        return self.merge(Count(increment.astype(jnp.uint32), jnp.zeros_like(self.high)))

    def merge(self, other: "Count") -> "Count":
        """Add another count."""
        low = self.low + other.low
        carry = (low < other.low).astype(jnp.uint32)
        return Count(low, self.high + other.high + carry)

    def reduce(self, axis_name: AxisName) -> "Count":
        """Add up the devices of an axis: in halves of 16 bits, because a sum of words would drop the carry."""
        half = jnp.uint32(0xFFFF)
        lower, upper = lax.psum((self.low & half, self.low >> 16), axis_name)
        upper = upper + (lower >> 16)
        high = lax.psum(self.high, axis_name) + (upper >> 16)
        return Count((lower & half) | (upper << 16), high)

    def value(self) -> Array:
        """Return the nearest float32."""
        return self.high.astype(jnp.float32) * 2.0**32 + self.low.astype(jnp.float32)

    def exact(self) -> np.ndarray:
        """Read the numbers as int64 of NumPy; not while a function is traced."""
        high, low = (np.asarray(word).astype(np.int64) for word in (self.high, self.low))
        return (high << 32) + low


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Total:
    """A sum of float32 with what its roundings lost: twice as many digits, however many batches are added."""

    sum: Array
    error: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...] = ()) -> "Total":
        """Start with nothing added."""
        return cls(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))

    @classmethod
    def of(cls, terms: Array, axes: tuple[int, ...]) -> "Total":
        """Add up one array over some of its axes."""

        def combine(a: Any, b: Any) -> tuple[Array, Array]:
            total, error = two_sum(a[0], b[0])
            return total, a[1] + b[1] + error

        terms = terms.astype(jnp.float32)
        zero = np.zeros((), np.float32)
        both = lax.reduce((terms, lax.full_like(terms, 0)), (zero, zero), combine, axes)
        return cls(*both)

    def add(self, terms: Array, axes: tuple[int, ...]) -> "Total":
        """Add one batch's terms, summed over some of their axes."""
        return self.merge(Total.of(terms, axes))

    def merge(self, other: "Total") -> "Total":
        """Add another total."""
        total, error = two_sum(self.sum, other.sum)
        # what was lost stays small beside the sum, so that it is exact itself
        return Total(*two_sum(total, self.error + other.error + error))

    def reduce(self, axis_name: AxisName) -> "Total":
        """Add up the devices of an axis, always in the same order."""
        gathered = Total(
            from_all_devices(self.sum, axis_name), from_all_devices(self.error, axis_name)
        )
        return merged(gathered)

    def value(self) -> Array:
        """Return the nearest float32."""
        return self.sum + self.error


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Means of several variables and the sums of products of their deviations: ``Σ (x - mean x)(y - mean y)``.

    Batches are merged around their own means, so a large offset costs no digits; each mean is a float32 and
    the rest that it rounds away. Of arrays ``(variables, columns)``.

    Reference: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, 1983.
    """

    count: Count
    mean: Total
    products: Total

    @classmethod
    def zeros(cls, variables: int, columns: int) -> "Moments":
        """Start with nothing added."""
        both = (variables, columns)
        return cls(Count.zeros((columns,)), Total.zeros(both), Total.zeros((variables, *both)))

    @classmethod
    def of(cls, values: Array, mask: Array) -> "Moments":
        """Take the moments of one batch: ``values`` ``(rows, variables, columns)``, ``mask`` ``(rows, columns)``."""
        number = mask.sum(0, dtype=jnp.int32)
        rows = jnp.maximum(number, 1).astype(jnp.float32)
        kept = jnp.where(mask[:, None], values, 0)
        # any centre near the mean will do; of equal values it is that value, so that they have no variance
        lowest = jnp.where(mask[:, None], values, jnp.inf).min(0)
        highest = jnp.where(mask[:, None], values, -jnp.inf).max(0)
        centre = jnp.where(number > 0, jnp.clip(kept.sum(0) / rows, lowest, highest), 0)
        away = jnp.where(mask[:, None], values - centre, 0)
        rest = Total.of(away, (0,)).value() / rows
        away = jnp.where(mask[:, None], away - rest, 0)
        products = Total.of(away[:, :, None] * away[:, None, :], (0,))
        count = Count.zeros(number.shape).add(number)
        return cls(count, Total(*two_sum(centre, rest)), products)

    def add(self, values: Array, mask: Array) -> "Moments":
        """Add one batch."""
        return self.merge(Moments.of(values, mask))

    def merge(self, other: "Moments") -> "Moments":
        """Add another's: ``n = n_a + n_b``, ``mean_a + δ n_b / n``, ``products_a + products_b + δ δᵀ n_a n_b / n``."""
        count = self.count.merge(other.count)
        ours, theirs, both = self.count.value(), other.count.value(), count.value()
        share = theirs / jnp.maximum(both, 1)
        # the means are near each other, so that the difference of their first parts is exact
        apart = (other.mean.sum - self.mean.sum) + (other.mean.error - self.mean.error)
        step, rest = two_sum(self.mean.sum, self.mean.error + apart * share)
        products = self.products.merge(other.products)
        between = apart[:, None] * apart[None, :] * (ours * share)
        products = products.merge(Total(between, jnp.zeros_like(between)))
        mean = Total(step, rest)
        # of nothing on one side, the other side as it is
        for side, empty in ((other, ours == 0), (self, theirs == 0)):
            mean = _chosen(empty, side.mean, mean)
            products = _chosen(empty, side.products, products)
        return Moments(count, mean, products)

    def reduce(self, axis_name: AxisName) -> "Moments":
        """Merge the devices of an axis, always in the same order."""
        return merged(jax.tree.map(lambda leaf: from_all_devices(leaf, axis_name), self))


def _chosen(condition: Array, a: Total, b: Total) -> Total:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def merged(stacked: Any) -> Any:
    """Merge totals that are stacked along a first axis."""
    first = jax.tree.map(lambda leaf: leaf[0], stacked)
    rest = jax.tree.map(lambda leaf: leaf[1:], stacked)
    return lax.scan(lambda a, b: (a.merge(b), None), first, rest)[0]
