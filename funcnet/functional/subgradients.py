"""Absolute value and positive part, with PyTorch's gradients at zero, where they have a kink."""

import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["magnitude", "positive_part"]


def magnitude(x: Array) -> Array:
    """Return ``|x|``, real or complex, with a gradient of zero at zero (``jnp.abs`` of a real has one).

    Example:
        >>> from funcnet.functional.subgradients import magnitude
        >>> float(jax.grad(magnitude)(0.0)), float(magnitude(jnp.array(3 - 4j)))
        (0.0, 5.0)
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.abs(x)  # whose gradient at zero is zero
    return x * jnp.sign(x)


def positive_part(x: Array) -> Array:
    """Return ``max(x, 0)``, NaN for NaN, with a gradient of one at zero (``jnp.maximum`` has one half).

    Example:
        >>> from funcnet.functional.subgradients import positive_part
        >>> float(jax.grad(positive_part)(0.0)), float(positive_part(jnp.array(-2.0)))
        (1.0, 0.0)
    """
    return jnp.where(x < 0, jnp.zeros_like(x), x)  # not `x >= 0`, which would make zero of NaN
