"""What a formula leaves in memory for its gradient: its arguments, and a number for each row.

JAX keeps every intermediate value that a derivative reads, in 32 bits where the formula is computed in 32
bits. Where these are cheap to compute again, only the arguments are kept, in their own dtype. Within one
compiled program this costs nothing: the compiler sees that both computations are the same, and decides by
itself. Values, slopes and derivatives of every order stay those of the formula.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32

__all__ = ["keeping_arguments", "keeping_input", "keeping_mask", "row"]

_ROW = "row"


def row(statistic: Array) -> Array:
    """Mark a number for each row (a mean, a sum) as one to keep: it is small, and takes a pass to find.

    Example:
        >>> from funcnet.functional.residuals import row
        >>> row(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """
    return checkpoint_name(statistic, _ROW)


def keeping_arguments(formula: Callable[..., Any], *, surely: bool = False) -> Callable[..., Any]:
    """Let the gradient of a formula keep its arguments and what `row` marks, and nothing else.

    Arrays are positional arguments, settings are named ones. Where all settings are plain values JAX
    remembers the trace of the formula, which makes a second call quick.

    Args:
        formula: of arrays and settings.
        surely: whether the compiler too must compute all again, where it would keep a result that it finds
            expensive. For formulas of a few operations on an array that is large in most models.

    Example:
        >>> from funcnet.functional.residuals import keeping_arguments
        >>> formula = keeping_arguments(lambda x: jnp.sin(jnp.exp(x)))
        >>> len(jax.tree.leaves(jax.vjp(formula, jnp.ones(3))[1]))
        1
    """
    policy = jax.checkpoint_policies.save_only_these_names(_ROW)

    def build(**settings: Any) -> Callable[..., Any]:
        return jax.checkpoint(partial(formula, **settings), prevent_cse=surely, policy=policy)

    remembered = lru_cache(maxsize=256, typed=True)(build)

    def apply(*arrays: Any, **settings: Any) -> Any:
        plain = all(map(_is_plain, settings.values()))
        return (remembered if plain else build)(**settings)(*arrays)

    return apply


def keeping_input(formula: Callable[..., Array], *, surely: bool = False) -> Callable[..., Array]:
    """Compute a formula of one array in 32 bits at least; its gradient keeps the array alone, as it is.

    Args:
        formula: of an array and settings.
        surely: as in `keeping_arguments`.

    Example:
        >>> from funcnet.functional.residuals import keeping_input
        >>> power = keeping_input(lambda x, *, exponent: x**exponent)
        >>> power(jnp.ones(2, jnp.bfloat16), exponent=3).dtype
        dtype(bfloat16)
    """

    def run(x: Array, **settings: Any) -> Array:
        return formula(x.astype(at_least_float32(x.dtype)), **settings).astype(x.dtype)

    return keeping_arguments(run, surely=surely)


keeping_mask = keeping_arguments(lambda mask, chosen, other: jnp.where(mask, chosen, other))
"""``jnp.where`` whose gradient keeps the mask alone; JAX's own keeps an array of zeros beside it."""


def _is_plain(setting: Any) -> bool:
    if isinstance(setting, tuple):
        return all(map(_is_plain, setting))  # pyright: ignore[reportUnknownArgumentType]
    return setting is None or isinstance(setting, bool | int | float | str)
