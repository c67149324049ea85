"""The uniform and the normal distribution, and the normal one between bounds."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.module.initial_values.recipes import FlatDraw
from funcnet.nn.init.distribution import Distribution, drawn_dtype, flat_draw

__all__ = ["normal", "trunc_normal", "uniform", "uniform_fan_in"]


def uniform(a: float = 0.0, b: float = 1.0) -> Distribution:
    """Draw from the uniform distribution ``U(a, b)``; of complex numbers both parts, as PyTorch does.

    >>> nn.init.uniform(-1.0, 1.0)
    uniform(-1.0, 1.0)
    """
    if a > b:
        raise ValueError(f"the lower bound must not exceed the upper one; got a={a!r}, b={b!r}")
    return Distribution(draw_uniform, (a, b), tell_uniform)


def uniform_fan_in(fan_in: int) -> Distribution:
    """Draw from ``U(-1/√fan_in, 1/√fan_in)``: PyTorch's default for biases and recurrent weights.

    A fan of zero gives zeros.

    >>> nn.init.uniform_fan_in(4)
    uniform(-0.5, 0.5)
    """
    bound = 1.0 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    return Distribution(draw_uniform, (-bound, bound), tell_uniform)


def draw_uniform(key: Key, shape: tuple[int, ...], dtype: Any, a: float, b: float) -> Array:
    """Draw uniformly from ``[a, b)``; of complex numbers both parts."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        parts = jax.random.uniform(key, (*shape, 2), jnp.finfo(dtype).dtype, a, b)
        return jax.lax.complex(parts[..., 0], parts[..., 1])
    return jax.random.uniform(key, shape, drawn_dtype(dtype), a, b).astype(dtype)


def tell_uniform(shape: tuple[int, ...], dtype: Any, a: float, b: float) -> FlatDraw | None:
    """Tell how a uniform draw is made: for all bounds in one program."""
    return flat_draw(draw_uniform, dtype, a, b)


def normal(mean: float = 0.0, std: float = 1.0) -> Distribution:
    """Draw from the normal distribution with this mean and standard deviation: ``N(mean, std²)``.

    >>> nn.init.normal(0.0, 0.02)
    normal(0.0, 0.02)
    """
    check_non_negative("std", std)
    return Distribution(draw_normal, (mean, std), tell_normal)


def draw_normal(key: Key, shape: tuple[int, ...], dtype: Any, mean: float, std: float) -> Array:
    """Draw from the normal distribution."""
    return (jax.random.normal(key, shape, drawn_dtype(dtype)) * std + mean).astype(dtype)


def tell_normal(shape: tuple[int, ...], dtype: Any, mean: float, std: float) -> FlatDraw | None:
    """Tell how a normal draw is made: for all means and deviations in one program."""
    return flat_normal(dtype, mean, std)


def flat_normal(dtype: Any, mean: float, std: float) -> FlatDraw | None:
    """Tell of a normal draw, unless products vanish: XLA leaves out a known mean of 0, which would take their sign."""
    return flat_draw(draw_normal, dtype, mean, std) if std > _VANISHING else None


_VANISHING = (
    1e-30  # no normal number but 0 is so near 0 that its product with more is not normal in float32
)


def trunc_normal(
    mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Distribution:
    """Draw from the normal distribution ``N(mean, std²)`` conditioned on the interval ``[a, b]``.

    The bounds are absolute, as in PyTorch, and not multiples of ``std``. The draws follow the
    distribution exactly also when the mean lies far outside of the interval.

    >>> draws = nn.init.trunc_normal(std=0.02, a=-0.04, b=0.04)(jax.random.key(0), (100,))
    >>> bool((abs(draws) <= 0.04).all())
    True
    """
    check_positive("std", std)
    if a >= b:
        raise ValueError(f"the lower bound must be below the upper one; got a={a!r}, b={b!r}")
    return Distribution(draw_trunc_normal, (mean, std, a, b), tell_trunc_normal)


def draw_trunc_normal(
    key: Key, shape: tuple[int, ...], dtype: Any, mean: float, std: float, a: float, b: float
) -> Array:
    """Draw from the normal distribution between two bounds."""
    low, high, wide = (a - mean) / std, (b - mean) / std, drawn_dtype(dtype)
    if jnp.issubdtype(wide, jnp.complexfloating):
        raise TypeError(f"trunc_normal draws between two bounds, which {dtype} does not have")
    if low < 0 < high:
        draws = jax.random.truncated_normal(key, low, high, shape, wide)
    else:
        # One tail only: invert the distribution on the left side, where small probabilities keep
        # their digits, and mirror the draws if the tail is on the right.
        side = 1.0 if high <= 0 else -1.0
        left, right = sorted((side * low, side * high))
        below = [0.5 * math.erfc(-bound / math.sqrt(2.0)) for bound in (left, right)]
        chance = jax.random.uniform(key, shape, wide, *below)
        draws = side * jnp.clip(jax.scipy.special.ndtri(chance), left, right)
    return jnp.clip(draws * std + mean, a, b).astype(dtype)


def tell_trunc_normal(shape: tuple[int, ...], dtype: Any, *settings: float) -> FlatDraw | None:
    """Tell how a draw between two bounds is made: a program for each pair, whose tails are constants."""
    return flat_draw(Distribution(draw_trunc_normal, settings), dtype)
