"""The partial inverse of maximum pooling: each maximum goes back to where it was found."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.indices import check_indices, check_integers, known_values
from funcnet.functional.pooling.linear_map import linear_along_axis
from funcnet.functional.windows import integers_per_axis

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]


def _output_size(
    sizes: Sequence[int], kernel: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, ...]:
    axes = len(sizes)
    kernel = integers_per_axis("kernel_size", kernel, axes)
    step = kernel if stride is None else integers_per_axis("stride", stride, axes)
    margin = integers_per_axis("padding", padding, axes)
    default = tuple(
        (size - 1) * s + k - 2 * p
        for size, k, s, p in zip(sizes, kernel, step, margin, strict=True)
    )
    if output_size is None:
        wanted = default
    else:
        wanted = tuple(output_size)[2:] if len(output_size) == axes + 2 else tuple(output_size)
        if len(wanted) != axes:
            raise ValueError(
                f"output_size must hold {axes} or {axes + 2} numbers; got {tuple(output_size)}"
            )
        for size, near, s in zip(wanted, default, step, strict=True):
            if not near - s < size < near + s:
                raise ValueError(
                    f"output_size must differ from {default} by less than the stride {step}; got {wanted}"
                )
    if any(size < 0 for size in wanted):
        raise ValueError(f"output_size must not be negative; got {wanted}")
    return wanted


_AS_THEY_ARE: Any = {"mode": "drop", "wrap_negative_indices": False}


def _put(values: Array, indices: Array, size: int) -> Array:
    """Put values ``(planes, n)`` where the indices say: of several for one place the last one.

    As in PyTorch, the gradient goes to each value whose index names a place, written or not.
    """
    if indices.dtype.itemsize < 4:  # an output may have more places than these can name
        indices = indices.astype(jnp.int32)

    def put(values: Array) -> Array:
        return lax.platform_dependent(values, indices, cpu=in_order, default=in_any_order)

    # Plane by plane under vmap: XLA shares a scatter of batches out among devices, and not one that names its planes.
    @jax.vmap
    def in_order(values: Array, indices: Array) -> Array:
        return jnp.zeros(size, values.dtype).at[indices].set(values, **_AS_THEY_ARE)

    @jax.vmap
    def in_any_order(values: Array, indices: Array) -> Array:
        # Writes happen in no fixed order here, but the largest of the numbers written is always the same.
        number = lax.broadcasted_iota(jnp.int32, values.shape, 0)
        last = jnp.full(size, -1, jnp.int32).at[indices].max(number, **_AS_THEY_ARE)
        taken = jnp.take(values, jnp.maximum(last, 0), mode="clip")
        return jnp.where(last >= 0, taken, jnp.zeros_like(taken))

    def gather(output: Array) -> Array:
        def take(plane: Array, where: Array) -> Array:
            return plane.at[where].get(mode="fill", fill_value=0, wrap_negative_indices=False)

        return jax.vmap(take)(output, indices)

    return linear_along_axis(put, gather, values, 1, size)


def _max_unpool(
    axes: int,
    input: Array,
    indices: Array,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Array:
    name = f"max_unpool{axes}d"
    known, indices = known_values(indices), jnp.asarray(indices)
    (input,) = as_floats(name, input=input)
    if input.ndim < axes + 1 or input.shape != indices.shape:
        raise ValueError(
            f"{name}: input and indices must have one shape, (..., C) and {axes} spatial axes; got "
            f"{input.shape} and {indices.shape}"
        )
    check_integers("indices", indices)
    lead = input.shape[:-axes]
    sizes = _output_size(input.shape[-axes:], kernel_size, stride, padding, output_size)
    check_indices("indices", indices if known is None else known, int(np.prod(sizes)))
    flat = (int(np.prod(lead)), int(np.prod(input.shape[-axes:])))

    def put_back(input: Array, indices: Array) -> Array:
        output = _put(input.reshape(flat), indices.reshape(flat), int(np.prod(sizes)))
        return output.reshape(*lead, *sizes)

    return let_xla_place(put_back, input, indices, kept=len(lead))


def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Undo `max_pool1d` as far as it can be: maxima at their positions, zeros elsewhere.

    ``output[..., indices[..., x]] = input[..., x]``

    Args:
        input: ``(..., C, L)``, any number of batch axes.
        indices: positions from ``max_pool1d(..., return_indices=True)``; those outside of the
            output raise where they are known and are dropped where they are traced.
        kernel_size: as was given to the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.
        output_size: of the spatial axis, or of all, where pooling rounded; the default is
            ``(L - 1) stride - 2 padding + kernel_size``.

    Returns:
        ``(..., C, L_out)``.

    Raises:
        ValueError: shapes differ, or ``output_size`` could not have been pooled to the input.
        TypeError: the indices are not whole numbers, or the input holds no floats.
        IndexError: an index outside of the output.

    Example:
        >>> x, where = F.max_pool1d(jnp.array([[1.0, 4.0, 3.0, 2.0]]), 2, return_indices=True)
        >>> F.max_unpool1d(x, where, 2)
        Array([[0., 4., 3., 0.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool1d.html
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Undo `max_pool2d` as far as it can be: maxima at their positions, zeros elsewhere.

    Args:
        input: ``(..., C, H, W)``, any number of batch axes.
        indices: positions from ``max_pool2d(..., return_indices=True)``; those outside of the
            output raise where they are known and are dropped where they are traced.
        kernel_size: as was given to the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.
        output_size: of the spatial axes, or of all, where pooling rounded.

    Returns:
        ``(..., C, H_out, W_out)``, sizes as in `max_unpool1d`.

    Raises:
        ValueError: shapes differ, or ``output_size`` could not have been pooled to the input.
        TypeError: the indices are not whole numbers, or the input holds no floats.
        IndexError: an index outside of the output.

    Example:
        >>> x, where = F.max_pool2d(jnp.ones((1, 5, 5)), 2, return_indices=True)
        >>> F.max_unpool2d(x, where, 2, output_size=(5, 5)).shape
        (1, 5, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool2d.html
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Undo `max_pool3d` as far as it can be: maxima at their positions, zeros elsewhere.

    Args:
        input: ``(..., C, D, H, W)``, any number of batch axes.
        indices: positions from ``max_pool3d(..., return_indices=True)``; those outside of the
            output raise where they are known and are dropped where they are traced.
        kernel_size: as was given to the pooling; so are the next two.
        stride: ``None`` for ``kernel_size``.
        padding: elements that the pooling had added.
        output_size: of the spatial axes, or of all, where pooling rounded.

    Returns:
        ``(..., C, D_out, H_out, W_out)``, sizes as in `max_unpool1d`.

    Raises:
        ValueError: shapes differ, or ``output_size`` could not have been pooled to the input.
        TypeError: the indices are not whole numbers, or the input holds no floats.
        IndexError: an index outside of the output.

    Example:
        >>> x, where = F.max_pool3d(jnp.ones((1, 4, 4, 4)), 2, return_indices=True)
        >>> F.max_unpool3d(x, where, 2).sum()
        Array(8., dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool3d.html
    """
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
