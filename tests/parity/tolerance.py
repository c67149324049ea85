"""How near is equal: relative to the largest number of an array, in steps of its dtype."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

RELATIVE = 1e-9
"""Float64 has 16 digits; sums of some thousand terms in another order cost a few of them."""

RELATIVE_32 = 1e-5
"""Float32 has 7 digits: the same sums cost the same few."""

RELATIVE_BF16 = 2e-2
"""bfloat16 has 8 bits of mantissa; a layer rounds a few times."""

CANCELLED = 2
"""So many roundings of the largest gradient of a call may be left where another is zero by cancellation."""


def largest(arrays: Iterable[Any]) -> float:
    """The largest finite magnitude among several arrays."""
    found = [0.0]
    for array in arrays:
        wide = np.abs(np.asarray(array).astype(np.float64))
        found.append(float(wide[np.isfinite(wide)].max(initial=0.0)))
    return max(found)


def close(ours: Any, theirs: Any, relative: float, what: str, floor: float = 0.0) -> None:
    """Compare relative to the largest magnitude of the array: small numbers beside large ones are rounding.

    Where all of theirs is zero, so is ours, except for the floor.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, not {theirs.shape}"
    np.testing.assert_allclose(
        ours.astype(np.float64),
        theirs.astype(np.float64),
        rtol=0,
        atol=max(relative * largest([theirs]), floor),
        err_msg=what,
    )


def close_gradients(
    ours: list[Any], theirs: list[Any], names: list[str], relative: float, dtype: Any
) -> None:
    """Compare the gradients of one call with each other's size in view.

    The gradient of a bias before a softmax is the sum of large terms that cancel: what both sides give is
    the rounding of those, not of zero.
    """
    floor = CANCELLED * float(jnp.finfo(dtype).eps) * largest(theirs)
    for a, b, name in zip(ours, theirs, names, strict=True):
        close(a, b, relative, name, floor)
