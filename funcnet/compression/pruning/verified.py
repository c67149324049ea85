"""Whether a smaller model computes what the larger one does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.module import functionalize

__all__ = ["verify_outputs"]


def verify_outputs(masked: tuple[Any, ...], small: tuple[Any, ...], inputs: Any) -> None:
    """Compare the outputs of two models for example inputs.

    Args:
        masked: ``(module, params, state)`` of the larger model.
        small: of the smaller one.
        inputs: one array, or a tuple of a call's arguments.

    Raises:
        ValueError: they differ.

    Example:
        >>> from funcnet.compression.pruning.verified import verify_outputs
        >>> model = (nn.Linear(2, 3), *fn.functionalize(nn.Linear(2, 3)).init(jax.random.key(0)))
        >>> verify_outputs(model, model, jnp.ones(2))
    """
    expected = _outputs(masked, inputs)
    try:
        found = _outputs(small, inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the smaller model cannot be called: {error}\nA layer that units were taken out of is used in another "
            f"place, {_COMMON}"
        ) from error
    worst = max((_difference(a, b) for a, b in zip(expected, found, strict=True)), default=0.0)
    if not worst <= 1:
        raise ValueError(
            f"the smaller model computes something else than the masked one: outputs differ by {worst:.2g} times what "
            f"rounding explains. A layer that units were taken out of is used in another place, {_COMMON}. (Weights "
            "that attention returns are means over its heads: give example inputs for which it returns none.)"
        )


_COMMON = (
    "such as a residual sum or a concatenation, where its channels cannot go alone: leave it out of "
    "groups and patterns"
)


def _outputs(model: tuple[Any, ...], inputs: Any) -> list[Any]:
    module, params, state = model
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    net = functionalize(module)

    def call(params: PyTree, state: PyTree) -> PyTree:
        return net.apply(params, state, *arguments)[0]

    return jax.tree.leaves(jax.jit(call)(params, state))


def _difference(expected: Any, found: Any) -> float:
    """Return how far two arrays are apart, in units of what the order of sums may change."""
    if expected.shape != found.shape:
        return float("inf")
    a, b = (
        np.asarray(x.astype(jnp.float32) if x.dtype.itemsize < 4 else x) for x in (expected, found)
    )
    if not a.size:
        return 0.0
    allowed = (
        100 * float(jnp.finfo(expected.dtype).eps)
        if jnp.issubdtype(expected.dtype, jnp.inexact)
        else 0.5
    )
    return float(np.abs(a - b).max() / (allowed * max(1.0, float(np.abs(a).max()))))
