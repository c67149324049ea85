"""A line search for the strong Wolfe conditions, along one direction, as bounded loops."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["Point", "cubic_minimum", "strong_wolfe"]

T = TypeVar("T")


class Point(NamedTuple):
    """A step length, and the value, gradient and slope of the function there.

    Example:
        >>> def at(t):
        ...     return optim.Point(t, (t - 2) ** 2, jnp.zeros(1), 2 * (t - 2))
        >>> at(3.0).value, at(3.0).slope
        (1.0, 2.0)
    """

    t: Array
    value: Array
    grad: Array
    slope: Array


def cubic_minimum(a: Point, b: Point, low: Array, high: Array) -> Array:
    r"""Find the minimum of the cubic through two values and slopes, clipped to an interval.

    .. math::
        d_1 = s_a + s_b - 3 \frac{f_a - f_b}{a - b}, \quad d_2 = \sqrt{d_1^2 - s_a s_b}, \quad
        t = b - (b - a) \frac{s_b + d_2 - d_1}{s_b - s_a + 2 d_2} \qquad (a \le b)

    Where the cubic has no minimum the result is the middle of the interval.

    Example:
        >>> def at(t):
        ...     t = jnp.float32(t)
        ...     return optim.Point(t, (t - 1) ** 2, jnp.zeros(1), 2 * (t - 1))
        >>> round(float(optim.cubic_minimum(at(0.0), at(3.0), 0.0, 3.0)), 3)
        1.0

    Reference: Nocedal and Wright, "Numerical Optimization", equation 3.59
    """
    left = jax.tree.map(lambda x, y: jnp.where(a.t <= b.t, x, y), a, b)
    right = jax.tree.map(lambda x, y: jnp.where(a.t <= b.t, y, x), a, b)
    d1 = left.slope + right.slope - 3 * (left.value - right.value) / (left.t - right.t)
    square = d1 * d1 - left.slope * right.slope
    d2 = jnp.sqrt(jnp.maximum(square, 0))
    ratio = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    minimum = jnp.clip(right.t - (right.t - left.t) * ratio, low, high)
    return jnp.where(square >= 0, minimum, (low + high) / 2)


class _Bracketing(NamedTuple):
    tries: Array
    previous: Point
    current: Point
    bracketed: Array
    done: Array


class _Zoom(NamedTuple):
    tries: Array
    low: Point
    high: Point
    stuck: Array
    done: Array


def strong_wolfe(
    evaluate: Callable[[Array], Point],
    start: Point,
    t: Array,
    largest: Array,
    max_steps: Array,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
) -> tuple[Point, Array]:
    r"""Find a step length that satisfies the strong Wolfe conditions.

    .. math:: f(t) \le f(0) + c_1 t f'(0), \qquad |f'(t)| \le c_2 |f'(0)|

    First the step is extended until an interval is known to hold such a point; then the interval
    is narrowed by cubic interpolation.

    Args:
        evaluate: ``t -> Point``.
        start: the point at ``t = 0``.
        t: the first step length to try.
        largest: the largest absolute component of the direction, by which ``tolerance_change``
            measures how far apart two points are.
        max_steps: how many times either phase may try again.
        c1: how much decrease is sufficient.
        c2: how flat the slope has to become.
        tolerance_change: an interval shorter than this ends the search.

    Returns:
        The point found, and how many times the function was evaluated.

    Example:
        >>> def at(t):
        ...     return optim.Point(t, (t - 2) ** 2, jnp.zeros(1), 2 * (t - 2))
        >>> point, count = optim.strong_wolfe(
        ...     at, at(jnp.float32(0)), jnp.float32(1e-2), jnp.float32(1), jnp.int32(25)
        ... )
        >>> bool(abs(point.slope) <= 0.9 * 4)
        True

    Reference: Nocedal and Wright, "Numerical Optimization", algorithms 3.5 and 3.6, in the form of
    PyTorch's ``LBFGS(line_search_fn="strong_wolfe")``
    """

    def too_high(point: Point) -> Array:
        return point.value > start.value + c1 * point.t * start.slope

    def flat(point: Point) -> Array:
        return jnp.abs(point.slope) <= -c2 * start.slope

    def judge(s: _Bracketing) -> _Bracketing:
        worse = too_high(s.current) | ((s.tries > 1) & (s.current.value >= s.previous.value))
        done = ~worse & flat(s.current)
        return s._replace(bracketed=worse | (~done & (s.current.slope >= 0)), done=done)

    def extend(s: _Bracketing) -> _Bracketing:
        a, b = s.previous, s.current
        t = cubic_minimum(a, b, b.t + 0.01 * (b.t - a.t), b.t * 10)
        count = s.tries + 1
        moved = _Bracketing(count, b, evaluate(t), s.bracketed, s.done)
        return _select(count < max_steps, judge(moved), moved)

    zero, no = jnp.zeros((), jnp.int32), jnp.array(False)
    first = _Bracketing(zero, start, evaluate(t), no, no)
    first = _select(max_steps > 0, judge(first), first)
    found = jax.lax.while_loop(
        lambda s: ~s.bracketed & ~s.done & (s.tries < max_steps), extend, first
    )
    # Without a bracket the trials have run out: choose between the first point and the last.
    other = _select(found.bracketed, found.previous, start)
    other = _select(found.done, found.current, other)
    zoom = _ordered(other, found.current, found.tries, no, found.done)

    def narrow(s: _Zoom) -> _Zoom:
        below, above = jnp.minimum(s.low.t, s.high.t), jnp.maximum(s.low.t, s.high.t)
        t, stuck = _keep_inside(cubic_minimum(s.low, s.high, below, above), below, above, s.stuck)
        new = evaluate(t)
        count = s.tries + 1
        reject = too_high(new) | (new.value >= s.low.value)
        turned = new.slope * (s.high.t - s.low.t) >= 0
        accepted = _Zoom(count, new, _select(turned & ~flat(new), s.low, s.high), stuck, flat(new))
        return _select(reject, _ordered(s.low, new, count, stuck, no), accepted)

    def wide(s: _Zoom) -> Array:
        return jnp.abs(s.high.t - s.low.t) * largest >= tolerance_change

    end = jax.lax.while_loop(lambda s: ~s.done & (s.tries < max_steps) & wide(s), narrow, zoom)
    return end.low, end.tries + 1


def _keep_inside(t: Array, below: Array, above: Array, stuck: Array) -> tuple[Array, Array]:
    """Move a trial off the ends of the interval if the one before it was close to them too."""
    margin = 0.1 * (above - below)
    close = jnp.minimum(above - t, t - below) < margin
    push = close & (stuck | (t >= above) | (t <= below))
    inner = jnp.where(jnp.abs(t - above) < jnp.abs(t - below), above - margin, below + margin)
    return jnp.where(push, inner, t), close & ~push


def _ordered(a: Point, b: Point, count: Array, stuck: Array, done: Array) -> _Zoom:
    lower = a.value <= b.value
    return _Zoom(count, _select(lower, a, b), _select(lower, b, a), stuck, done)


def _select(condition: Array, yes: T, no: T) -> T:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
