"""Shrinkages: they move each element towards zero."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats
from funcnet.functional.residuals import keeping_input, keeping_mask

__all__ = ["hardshrink", "softshrink", "tanhshrink"]


def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    """Set the elements between ``-lambd`` and ``lambd`` to zero and keep the others.

    ``x if |x| > lambd else 0``

    Args:
        input: array of any shape.
        lambd: half-width of the interval, which includes its ends.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> F.hardshrink(jnp.array([-1.0, 0.25, 2.0])).tolist()
        [-1.0, 0.0, 2.0]

    Reference: ``torch.nn.functional.hardshrink``.
    """
    (x,) = as_floats("hardshrink", input=input)
    return keeping_mask((x >= -lambd) & (x <= lambd), 0, x)


def softshrink(input: Array, lambd: float = 0.5) -> Array:
    """Move each element towards zero by ``lambd``, and to zero those nearer than that.

    ``sign(x) max(|x| - lambd, 0)``

    Args:
        input: array of any shape.
        lambd: how far to move; not negative.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``lambd`` is negative.

    Example:
        >>> F.softshrink(jnp.array([-1.0, 0.25, 2.0])).tolist()
        [-0.5, 0.0, 1.5]

    Reference: Donoho, De-Noising by Soft-Thresholding, 1995.
    """
    if lambd < 0:
        raise ValueError(f"lambd must not be negative; got {lambd}")
    (x,) = as_floats("softshrink", input=input)
    return _softshrink(x, lambd=lambd)


@keeping_input
def _softshrink(x: Array, *, lambd: float) -> Array:
    shrunk = jnp.where(x > lambd, x - lambd, x + lambd)
    return jnp.where((x >= -lambd) & (x <= lambd), 0, shrunk)


def tanhshrink(input: Array) -> Array:
    """Take from each element its hyperbolic tangent: ``x - tanh(x)``.

    Args:
        input: array of any shape.

    Returns:
        An array of the same shape and dtype.

    Example:
        >>> float(F.tanhshrink(jnp.array(0.0)))
        0.0

    Reference: ``torch.nn.functional.tanhshrink``.
    """
    (x,) = as_floats("tanhshrink", complex=True, input=input)
    return _tanhshrink(x)


@keeping_input
def _tanhshrink(x: Array) -> Array:
    # near zero the difference cancels; its series is exact to rounding below these bounds
    near = jnp.abs(x) < (0.3 if jnp.finfo(x.dtype).bits == 32 else 0.03)
    square = jnp.square(jnp.where(near, x, 0))
    series = 1 / 3 - square * (
        2 / 15 - square * (17 / 315 - square * (62 / 2835 - square * (1382 / 155925)))
    )
    return jnp.where(near, x * square * series, x - jnp.tanh(x))
