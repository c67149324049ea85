"""Convolutions in the forms that small runtimes have: over inputs that are not spread, in groups where they know none.

Why: LiteRT's converter refuses most convolutions of inputs with gaps (``lhs_dilation``, of transposed convolutions)
and computes some wrongly (those whose padding differs on both sides). When a setting of JAX's convolution is renamed,
it is renamed here.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import primitives

from funcnet.core.jax_internals.programs import Operation

__all__ = ["plain_convolution"]

_PLANE = 2
"""Axes of the space in which transposed and grouped convolutions are common, and known."""


def plain_convolution(operation: Operation, x: Any, kernel: Any) -> Any | None:
    """Compute a convolution with gaps by one without, and one in groups of a volume group by group.

    Returns:
        The result; None for any other operation, and for convolutions that need nothing.

    >>> from funcnet.core.jax_internals.convolutions import plain_convolution
    >>> from funcnet.core.jax_internals.programs import trace
    >>> spread = lambda x, k: jax.lax.conv_general_dilated(x, k, (1,), [(1, 2)], lhs_dilation=(2,))
    >>> x, k = jnp.arange(3.0).reshape(1, 1, 3), jnp.ones((1, 1, 2))
    >>> operation = trace(spread, x, k)[0].operations[0]
    >>> plain_convolution(operation, x, k).tolist() == spread(x, k).tolist()
    True
    """
    if operation.equation.primitive is not primitives.conv_general_dilated_p:
        return None
    settings = dict(operation.equation.params)
    spread = any(gap != 1 for gap in settings["lhs_dilation"])
    groups, space = settings["feature_group_count"], len(settings["window_strides"])
    if spread and not _is_common(settings):
        x = _with_gaps(x, settings)
        settings["lhs_dilation"] = (1,) * space
    elif groups == 1 or space <= _PLANE:
        return None
    if groups > 1 and space > _PLANE:
        return _by_groups(x, kernel, settings)
    return _convolved(x, kernel, settings)


def _is_common(settings: Mapping[str, Any]) -> bool:
    """Whether it is a transposed convolution of images as LiteRT has it."""
    return (
        len(settings["window_strides"]) == _PLANE
        and settings["feature_group_count"] == 1
        and all(step == 1 for step in settings["window_strides"])
        and all(gap == 1 for gap in settings["rhs_dilation"])
        and all(before == after for before, after in settings["padding"])
    )


def _with_gaps(x: Any, settings: Mapping[str, Any]) -> Any:
    """Put zeros between the inputs."""
    axes = settings["dimension_numbers"].lhs_spec[2:]
    for axis, gap in zip(axes, settings["lhs_dilation"], strict=True):
        if gap != 1 and x.shape[axis]:
            zeros = jnp.zeros((*x.shape[: axis + 1], gap - 1, *x.shape[axis + 1 :]), x.dtype)
            wide = lax.concatenate([lax.expand_dims(x, [axis + 1]), zeros], axis + 1)
            shape = (*x.shape[:axis], x.shape[axis] * gap, *x.shape[axis + 1 :])
            x = lax.slice_in_dim(wide.reshape(shape), 0, shape[axis] - gap + 1, axis=axis)
    return x


def _by_groups(x: Any, kernel: Any, settings: dict[str, Any]) -> Any:
    numbers, groups = settings["dimension_numbers"], settings["feature_group_count"]
    settings["feature_group_count"] = 1
    parts = zip(
        jnp.split(x, groups, numbers.lhs_spec[1]),
        jnp.split(kernel, groups, numbers.rhs_spec[0]),
        strict=True,
    )
    made = [_convolved(part, own, settings) for part, own in parts]
    return lax.concatenate(made, numbers.out_spec[1])


def _convolved(x: Any, kernel: Any, settings: Mapping[str, Any]) -> Any:
    names = (
        "window_strides",
        "padding",
        "lhs_dilation",
        "rhs_dilation",
        "dimension_numbers",
        "feature_group_count",
        "batch_group_count",
        "precision",
        "preferred_element_type",
    )
    return lax.conv_general_dilated(x, kernel, **{name: settings[name] for name in names})
