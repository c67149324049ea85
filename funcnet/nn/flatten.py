"""Layers that merge axes into one, or split one into several."""

import math

from funcnet.core.aliases import Array
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    """Merge a range of axes into one.

    Args:
        start_dim: the first axis to merge.
        end_dim: the last one.

    >>> nn.Flatten()(jnp.ones((2, 3, 4))).shape
    (2, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Flatten.html
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def __call__(self, input: Array) -> Array:
        """Merge the axes ``start_dim`` to ``end_dim``.

        Raises:
            ValueError: the input lacks one of the axes, or they come in the wrong order.
        """
        axes = max(input.ndim, 1)
        start = _axis("start_dim", self.start_dim, axes)
        end = _axis("end_dim", self.end_dim, axes)
        if start > end:
            raise ValueError(
                f"start_dim must not come after end_dim; got {self.start_dim} and {self.end_dim} "
                f"for an input of shape {input.shape}"
            )
        shape = input.shape or (1,)
        return input.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


class Unflatten(Module):
    """Split one axis into several.

    Args:
        dim: the axis to split.
        unflattened_size: the lengths to split it into; one may be -1.

    Raises:
        TypeError: the lengths are not integers.

    >>> nn.Unflatten(1, (2, -1))(jnp.ones((5, 6))).shape
    (5, 2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unflatten.html
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        if not isinstance(unflattened_size, tuple | list):
            raise TypeError(
                f"unflattened_size must be a tuple of integers; got {unflattened_size!r}"
            )
        for size in unflattened_size:
            if not isinstance(size, int):
                raise TypeError(f"unflattened_size must hold integers; got {size!r}")
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def __call__(self, input: Array) -> Array:
        """Split the axis ``dim``.

        Raises:
            ValueError: the lengths do not multiply to that of the axis.
        """
        dim, sizes = _axis("dim", self.dim, input.ndim), self.unflattened_size
        length, known = input.shape[dim], math.prod(size for size in sizes if size != -1)
        free = sizes.count(-1)
        fits = length == known if free == 0 else free == 1 and known > 0 and length % known == 0
        if not fits or min(sizes, default=-2) < -1:
            raise ValueError(
                f"unflattened_size {sizes} does not fit the length {length} of axis {self.dim}"
            )
        sizes = tuple(length // known if size == -1 else size for size in sizes)
        whole = (*input.shape[:dim], *sizes, *input.shape[dim + 1 :])
        return let_xla_place(lambda x: x.reshape(whole), input, kept=dim)


def _axis(name: str, dim: int, axes: int) -> int:
    if not -axes <= dim < axes:
        raise ValueError(f"{name} must lie in [{-axes}, {axes - 1}]; got {dim}")
    return dim % axes
