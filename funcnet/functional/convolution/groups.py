"""Grouped convolution of images that devices share out, each its own.

XLA gathers all images on each device where one convolution has groups, and convolves them all there. It
shares out a convolution of one group, and one whose output channels read one input channel each.
"""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.functional.explicit_meshes import devices_of, let_xla_place

__all__ = ["convolve_groups", "group_by_group"]


def convolve_groups(
    convolve: Callable[[Array, Array, int], Array],
    images: Array,
    filters: Array,
    groups: int,
    axis: int,
) -> Array:
    """Call a convolution with its number of groups, in a form that devices share out.

    Args:
        convolve: of images, filters ``(O, C / groups, ...)`` and the number of groups.
        images: ``(N, ...)``.
        filters: of all groups, one after another.
        groups: blocks of channels that do not mix.
        axis: of the channels, in input and output.

    Example:
        >>> from funcnet.functional.convolution.groups import convolve_groups
        >>> products = lambda x, w, groups: x @ w[:, :, 0].T
        >>> convolve_groups(products, jnp.ones((5, 3)), jnp.ones((4, 3, 1)), 1, 1).shape
        (5, 4)
    """
    if groups == 1 or devices_of(images) == 1:
        return convolve(images, filters, groups)
    if filters.shape[1] > 1:
        return group_by_group(lambda x, w: convolve(x, w, 1), images, filters, groups, axis)

    def each_alone(images: Array, filters: Array) -> Array:
        return convolve(jnp.repeat(images, len(filters) // groups, axis), filters, len(filters))

    return let_xla_place(each_alone, images, filters, kept=1)


def group_by_group(
    convolve: Callable[[Array, Array], Array],
    images: Array,
    filters: Array,
    groups: int,
    axis: int,
) -> Array:
    """Convolve one group of channels after another, with its filters, and join the outputs.

    Example:
        >>> from funcnet.functional.convolution.groups import group_by_group
        >>> products = lambda x, w: x @ w.T
        >>> group_by_group(products, jnp.ones((5, 6)), jnp.ones((4, 3)), 2, 1).shape
        (5, 4)
    """

    def whole(images: Array, filters: Array) -> Array:
        pairs = zip(jnp.split(images, groups, axis), jnp.split(filters, groups), strict=True)
        return jnp.concatenate([convolve(*pair) for pair in pairs], axis)

    return let_xla_place(whole, images, filters, kept=1)
