"""Distributions scaled by the fans of a weight ``(out, in, *window)``, to keep the variance from layer to layer."""

import math
from collections.abc import Callable
from typing import Any, Literal

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_choice
from funcnet.module.initial_values.recipes import FlatDraw
from funcnet.nn.init.distribution import Distribution, flat_draw
from funcnet.nn.init.gain_and_fans import calculate_fan_in_and_fan_out, calculate_gain
from funcnet.nn.init.uniform_normal import draw_normal, draw_uniform, flat_normal

__all__ = ["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"]

FanMode = Literal["fan_in", "fan_out"]


def xavier_uniform(gain: float = 1.0) -> Distribution:
    """Draw from ``U(-a, a)`` with ``a = gain · √(6 / (fan_in + fan_out))`` (Glorot, Bengio 2010).

    >>> draws = nn.init.xavier_uniform()(jax.random.key(0), (2, 4))
    >>> bool((abs(draws) <= 1.0).all())
    True
    """
    return Distribution(draw_xavier_uniform, (gain,), tell_xavier_uniform)


def draw_xavier_uniform(key: Key, shape: tuple[int, ...], dtype: Any, gain: float) -> Array:
    """Draw uniformly, scaled by the mean of the fans."""
    return draw_uniform(key, shape, dtype, *_around_zero(_xavier_spread(shape, gain)))


def tell_xavier_uniform(shape: tuple[int, ...], dtype: Any, gain: float) -> FlatDraw | None:
    """Tell of a uniform draw with bounds that are known."""
    return flat_draw(draw_uniform, dtype, *_around_zero(_xavier_spread(shape, gain)))


def xavier_normal(gain: float = 1.0) -> Distribution:
    """Draw from ``N(0, s²)`` with ``s = gain · √(2 / (fan_in + fan_out))`` (Glorot, Bengio 2010).

    >>> nn.init.xavier_normal()(jax.random.key(0), (2, 4)).shape
    (2, 4)
    """
    return Distribution(draw_xavier_normal, (gain,), tell_xavier_normal)


def draw_xavier_normal(key: Key, shape: tuple[int, ...], dtype: Any, gain: float) -> Array:
    """Draw normally, scaled by the mean of the fans."""
    return draw_normal(key, shape, dtype, 0.0, _xavier_spread(shape, gain))


def tell_xavier_normal(shape: tuple[int, ...], dtype: Any, gain: float) -> FlatDraw | None:
    """Tell of a normal draw with a deviation that is known."""
    return flat_normal(dtype, 0.0, _xavier_spread(shape, gain))


def kaiming_uniform(
    a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Distribution:
    """Draw from ``U(-b, b)`` with ``b = gain · √(3 / fan)`` (He et al. 2015).

    Args:
        a: the negative slope of the rectifier that follows (for ``leaky_relu``).
        mode: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward.
        nonlinearity: a name that `calculate_gain` knows.

    >>> draws = nn.init.kaiming_uniform(nonlinearity="relu")(jax.random.key(0), (2, 6))
    >>> bool((abs(draws) <= 1.0).all())
    True
    """
    return _kaiming(draw_kaiming_uniform, tell_kaiming_uniform, a, mode, nonlinearity)


def draw_kaiming_uniform(
    key: Key, shape: tuple[int, ...], dtype: Any, gain: float, mode: str
) -> Array:
    """Draw uniformly, scaled by one fan."""
    return draw_uniform(key, shape, dtype, *_around_zero(_kaiming_spread(shape, gain, mode)))


def tell_kaiming_uniform(
    shape: tuple[int, ...], dtype: Any, gain: float, mode: str
) -> FlatDraw | None:
    """Tell of a uniform draw with bounds that are known."""
    return flat_draw(draw_uniform, dtype, *_around_zero(_kaiming_spread(shape, gain, mode)))


def kaiming_normal(
    a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Distribution:
    """Draw from ``N(0, s²)`` with ``s = gain / √fan`` (He et al. 2015).

    The arguments are those of `kaiming_uniform`.

    >>> nn.init.kaiming_normal(mode="fan_out")(jax.random.key(0), (2, 6)).shape
    (2, 6)
    """
    return _kaiming(draw_kaiming_normal, tell_kaiming_normal, a, mode, nonlinearity)


def draw_kaiming_normal(
    key: Key, shape: tuple[int, ...], dtype: Any, gain: float, mode: str
) -> Array:
    """Draw normally, scaled by one fan."""
    return draw_normal(key, shape, dtype, 0.0, _kaiming_spread(shape, gain, mode))


def tell_kaiming_normal(
    shape: tuple[int, ...], dtype: Any, gain: float, mode: str
) -> FlatDraw | None:
    """Tell of a normal draw with a deviation that is known."""
    return flat_normal(dtype, 0.0, _kaiming_spread(shape, gain, mode))


def _kaiming(
    draw: Callable[..., Array],
    tell: Callable[..., FlatDraw | None],
    a: float,
    mode: str,
    nonlinearity: str,
) -> Distribution:
    check_choice("mode", mode.lower(), ("fan_in", "fan_out"))
    return Distribution(draw, (calculate_gain(nonlinearity, a), mode.lower()), tell)


def _xavier_spread(shape: tuple[int, ...], gain: float) -> float:
    return gain * math.sqrt(2.0 / max(1, sum(calculate_fan_in_and_fan_out(shape))))


def _kaiming_spread(shape: tuple[int, ...], gain: float, mode: str) -> float:
    fan_in, fan_out = calculate_fan_in_and_fan_out(shape)
    return gain / math.sqrt(max(1, fan_in if mode == "fan_in" else fan_out))


def _around_zero(spread: float) -> tuple[float, float]:
    """Return the bounds between which a uniform draw has this standard deviation."""
    bound = math.sqrt(3.0) * spread
    return -bound, bound
