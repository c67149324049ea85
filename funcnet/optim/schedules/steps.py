"""What every schedule does with its argument: the count of steps as a float."""

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike

__all__: list[str] = []


def as_float(step: ArrayLike) -> Array:
    """Convert a step count to the default float dtype, in which schedules compute."""
    return jnp.asarray(step).astype(float)
