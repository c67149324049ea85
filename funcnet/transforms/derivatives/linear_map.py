"""Linear functions between trees, in which integer leaves are constants."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.transforms.differentiable_leaves import Pattern, split

__all__ = ["LinearMap", "flattened", "take"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearMap:
    """A linear function between trees with constants, around JAX's between lists of arrays.

    A pytree, as what `jax.vjp` returns is: it goes into and comes out of jitted functions.
    """

    between_lists: Callable[..., Any]
    source: Pattern
    target: Pattern

    def __call__(self, *vectors: PyTree) -> PyTree:
        """Apply the map; what stands in place of a constant is ignored, and zeros come back."""
        image = self.between_lists(take(self.source, vectors))
        if isinstance(image, tuple):  # a pullback answers with one entry an argument
            (image,) = image
        return self.target.fill(image)


def take(pattern: Pattern, vectors: PyTree) -> list[Any]:
    """List the directions of the moving leaves, or say which structure they should have."""
    try:
        directions = pattern.take(vectors)
    except ValueError as error:
        raise TypeError(
            "the direction must have the structure of what it moves: expected "
            f"{pattern.treedef}, got {jax.tree.structure(vectors)}"
        ) from error
    # JAX 0.10 keeps a NumPy tangent as it is and stumbles over it in the gradient of a scan
    return [jnp.asarray(v) if isinstance(v, np.ndarray) else v for v in directions]


def flattened(
    fun: Callable[..., Any], pattern: Pattern, constants: list[Any], has_aux: bool, single: bool
) -> Callable[[list[Any]], Any]:
    """Return ``fun`` as a function from a list of differentiable leaves to such a list.

    It returns beside them the output's pattern, its constants, and ``fun``'s own ``aux``. With ``single`` the
    output's pattern is that of the one-tuple of the output: a pullback's only argument.
    """

    def of_moving(moving: list[Any]) -> tuple[list[Any], Any]:
        output = fun(*pattern.join(moving, constants))
        output, aux = output if has_aux else (output, None)
        target, moved, rest = split((output,) if single else output)
        return moved, (target, rest, aux)

    return of_moving
