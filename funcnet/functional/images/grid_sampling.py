"""Sampling of images and volumes at any places, and grids of places from affine maps."""

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product
from math import prod
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32, widest
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.functional.windows import check_spatial

__all__ = ["affine_grid", "grid_sample"]


def _unnormalize(place: Array, size: int, align_corners: bool) -> Array:
    """Map ``[-1, 1]`` to element positions: to the middles of the corner elements, or to their outer edges."""
    if align_corners:
        return (place + 1) * ((size - 1) / 2)
    return ((place + 1) * size - 1) / 2


def _clip(place: Array, size: int) -> Array:
    """Clip to the axis; unlike ``jnp.clip``, with no gradient at the edge itself."""
    zero, last = jnp.zeros_like(place), jnp.full_like(place, size - 1)
    return jnp.where(place > 0, jnp.where(place < size - 1, place, last), zero)


def _reflect(place: Array, size: int, align_corners: bool) -> Array:
    """Mirror at the middles of the edge elements, or at their outer edges, as often as needed."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span == 0:
        return jnp.zeros_like(place)
    distance = jnp.abs(place - low)
    rest = jnp.mod(distance, span)
    odd = jnp.mod(jnp.floor(distance / span), 2) == 1
    return jnp.where(odd, span - rest + low, rest + low)


def _inside(place: Array, size: int, padding_mode: str, align_corners: bool) -> Array:
    """Bring places into the axis, as the padding mode says; with zeros they stay where they are."""
    if padding_mode == "reflection":
        place = _reflect(place, size, align_corners)
    return place if padding_mode == "zeros" else _clip(place, size)


def _cubic_weights(t: Array) -> list[Array]:
    """Weigh the elements at -1, 0, 1 and 2 for a place ``t`` between 0 and 1, by Keys' kernel."""
    a = -0.75

    def near(x: Array) -> Array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Array) -> Array:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _neighbours(
    place: Array, size: int, mode: str, padding_mode: str, align_corners: bool
) -> list[tuple[Array, Array | None]]:
    """Return, for places along one axis, the positions to read (as floats) and their weights."""
    if mode == "bicubic":
        start = jnp.floor(place)
        weights = _cubic_weights(place - start)
        return [
            (_inside(start + (offset - 1), size, padding_mode, align_corners), weight)
            for offset, weight in enumerate(weights)
        ]
    place = _inside(place, size, padding_mode, align_corners)
    if mode == "nearest":
        return [(jnp.round(place), None)]
    start = jnp.floor(place)
    fraction = place - start
    return [(start, 1 - fraction), (start + 1, fraction)]


_Corner = tuple[Array, Array, Array | None]
"""Indices to read, whether each is inside of its axis, and weights."""


def _as_index(position: Array, size: int, weight: Array | None) -> _Corner:
    """Turn a position along one axis into an index, whether it is inside, and its weight."""
    inside = (position >= 0) & (position <= size - 1)
    index = jnp.where(inside, position, jnp.zeros_like(position)).astype(jnp.int32)
    return index, inside, weight


def _corners(places: Array, sizes: Sequence[int], settings: tuple[str, str, bool]) -> list[_Corner]:
    """Return what each place ``(N, points, axes)`` reads, an index into all elements of an image."""
    mode, padding_mode, align = settings
    axes = []
    for i, size in enumerate(sizes):
        place = _unnormalize(places[..., len(sizes) - 1 - i], size, align)
        found = _neighbours(place, size, mode, padding_mode, align)
        axes.append([_as_index(position, size, weight) for position, weight in found])
    corners = []
    for corner in product(*axes):
        index, inside, weight = corner[0]
        for (here, valid, factor), size in zip(corner[1:], sizes[1:], strict=True):
            index, inside = index * size + here, inside & valid
            weight = weight * factor if weight is not None and factor is not None else None
        corners.append((index, inside, weight))
    return corners


def _read(images: Array, index: Array, inside: Array) -> Array:
    """Take elements of images ``(N, elements, channels)``, zeros for those outside: ``(N, points, channels)``."""
    # image by image: so XLA sees that devices that share the images out need nothing of each other
    taken = jax.vmap(
        lambda rows, i: rows.at[i].get(mode="promise_in_bounds", wrap_negative_indices=False)
    )(images, index)
    return jnp.where(inside[..., None], taken, jnp.zeros((), images.dtype))


def _read_or_skip(images: Array, index: Array, inside: Array) -> Array:
    """Do what `_read` does at ``(N, corners, points)``; the transpose adds nothing where a place is outside.

    Elsewhere all of those would add their zeros to the same few elements, one after the other.
    """
    index = jnp.where(inside, index, images.shape[1])
    return jax.vmap(
        lambda rows, i: rows.at[i].get(mode="fill", fill_value=0, wrap_negative_indices=False)
    )(images, index)


_AT_ONCE = 8
"""Corners that one gather of the tangent reads: its transpose, the image's gradient, is one scatter for them all.

One gather each would make a sum of scatters: on an H200 0.30 ms in place of 0.19, for 32x64x56x56 elements forward and
backward; on a CPU the same or a little more (``python -m benchmarks.layers_spatial``).
"""


@jax.custom_jvp
def _weighed_elements(images: Array, index: Array, inside: Array, weight: Array) -> Array:
    """Sum elements at corners ``(corners, N, points)``, times their weights: ``(N, points, channels)``."""
    corners = zip(index, inside, weight, strict=True)
    return reduce(add, (_read(images, i, valid) * w[..., None] for i, valid, w in corners))


def _weighed_elements_jvp(primals: Any, tangents: Any) -> tuple[Array, Any]:
    images, index, inside, weight = primals
    images_dot, _, _, weight_dot = tangents
    terms = []
    if not isinstance(images_dot, SymbolicZero):
        by_image = [jnp.moveaxis(part, 1, 0) for part in (index, inside, weight)]
        for start in range(0, len(weight), _AT_ONCE):
            places, valid, factor = (part[:, start : start + _AT_ONCE] for part in by_image)
            values = _read_or_skip(images_dot, places, valid)
            terms.append(jnp.sum(values * factor[..., None], 1))
    if not isinstance(weight_dot, SymbolicZero):
        terms.append(_weighed_elements(images, index, inside, weight_dot))
    output = _weighed_elements(images, index, inside, weight)
    return output, reduce(add, terms) if terms else jnp.zeros_like(output)


_weighed_elements.defjvp(_weighed_elements_jvp, symbolic_zeros=True)


def _in_one_table(count: int, elements: int) -> bool:
    """Say whether the elements of all images are one table of rows, each with its channels side by side.

    Apart by images XLA leaves the channels where they are, far from each other, and reads them one by one, which takes
    a GPU more than twice as long. Many devices read their own images, which in one table they could not tell apart.
    """
    if not isinstance(count, int):  # exported for any number of images
        return False
    one = jax.default_backend() == "gpu" and jax.device_count() == 1
    return one and count * elements < 2**31


def _sample(images: Array, places: Array, settings: tuple[str, str, bool]) -> Array:
    """Sample ``(N, channels, *sizes)`` at places ``(N, points, axes)``: ``(N, channels, points)``."""
    count, channels, *sizes = images.shape
    corners = _corners(places, sizes, settings)
    rows = images.reshape(count, channels, prod(sizes)).swapaxes(1, 2)
    if _in_one_table(count, prod(sizes)):
        first = jnp.arange(count, dtype=jnp.int32)[:, None] * prod(sizes)
        corners = [(index + first, inside, weight) for index, inside, weight in corners]
        corners = jax.tree.map(lambda part: part.reshape(1, -1), corners)
        rows = rows.reshape(1, count * prod(sizes), channels)
    if corners[0][2] is None:
        output = _read(rows, *corners[0][:2])
    else:
        index, inside, weight = (jnp.stack(parts) for parts in zip(*corners, strict=True))
        output = _weighed_elements(rows, index, inside, weight)
    return output.reshape(count, places.shape[1], channels).swapaxes(1, 2)


def grid_sample(
    input: Array,
    grid: Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Array:
    """Read an image (or volume) at given places.

    ``output[n, :, h, w] = input[n, :, y, x]`` with ``x, y = grid[n, h, w]``, which run from -1 at the left and
    top to 1 at the right and bottom; between elements the value is interpolated.

    Args:
        input: ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        grid: places ``(N, H_out, W_out, 2)`` or ``(N, D_out, H_out, W_out, 3)``, the last axis first: x, y, z.
        mode: ``"bilinear"`` (of volumes: trilinear), ``"nearest"``, or ``"bicubic"`` (of images only).
        padding_mode: what is outside: ``"zeros"``, the ``"border"``'s elements, or a ``"reflection"``.
        align_corners: whether -1 and 1 are the middles of the corner elements or (by default) their edges.

    Returns:
        ``(N, C, H_out, W_out)`` or ``(N, C, D_out, H_out, W_out)``, of the dtype that input and grid are
        promoted to.

    Raises:
        ValueError: a mode is unknown, or the shapes do not fit each other.
        TypeError: input or grid holds no floats.

    Example:
        >>> image = jnp.array([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> F.grid_sample(image, jnp.zeros((1, 1, 1, 2)), align_corners=True)
        Array([[[[2.5]]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.grid_sample.html
    """
    (input,), (grid,) = as_floats("grid_sample", input=input), as_floats("grid_sample", grid=grid)
    dtype = widest(input.dtype, grid.dtype)
    check_choice("mode", mode, ("bilinear", "nearest", "bicubic"))
    check_choice("padding_mode", padding_mode, ("zeros", "border", "reflection"))
    axes = input.ndim - 2
    if axes not in (2, 3) or (mode == "bicubic" and axes == 3):
        raise ValueError(
            f"grid_sample: mode {mode!r} takes an input (N, C, H, W)"
            f"{'' if mode == 'bicubic' else ' or (N, C, D, H, W)'}; got {input.shape}"
        )
    check_spatial("grid_sample", input, axes)
    if grid.ndim != input.ndim or grid.shape[0] != input.shape[0] or grid.shape[-1] != axes:
        raise ValueError(
            f"grid_sample: grid must have shape (N, {'D, ' * (axes - 2)}H_out, W_out, {axes}) with the input's N; got "
            f"{grid.shape} for input {input.shape}"
        )
    points = int(np.prod(grid.shape[1:-1]))

    # in bfloat16 a place among 1,000 elements would be rounded by up to 4 of them
    wide = at_least_float32(dtype)
    places = grid.reshape(grid.shape[0], points, axes).astype(wide)
    sample = partial(_sample, settings=(mode, padding_mode, bool(align_corners)))
    output = let_xla_place(sample, input.astype(wide), places, kept=1)
    return output.astype(dtype).reshape(*input.shape[:2], *grid.shape[1:-1])


def affine_grid(theta: Array, size: Sequence[int], align_corners: bool | None = None) -> Array:
    """Map the places of an output image through affine maps: the grid that `grid_sample` takes.

    ``grid[n, h, w] = theta[n] @ (x_w, y_h, 1)``, with ``x`` and ``y`` from -1 to 1.

    Args:
        theta: ``(N, 2, 3)`` for images, ``(N, 3, 4)`` for volumes.
        size: of the output, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        align_corners: whether -1 and 1 are the middles of the corner elements or (by default) their edges.

    Returns:
        ``(N, H, W, 2)`` or ``(N, D, H, W, 3)``.

    Raises:
        ValueError: shapes do not fit each other, or a size is not positive.
        TypeError: theta holds no floats.

    Example:
        >>> identity = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> F.affine_grid(identity, (1, 1, 2, 2), align_corners=True)[0, :, :, 0]
        Array([[-1.,  1.],
               [-1.,  1.]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.affine_grid.html
    """
    (theta,) = as_floats("affine_grid", theta=theta)
    axes = len(size) - 2
    if axes not in (2, 3):
        raise ValueError(f"size must be (N, C, H, W) or (N, C, D, H, W); got {tuple(size)}")
    if theta.shape != (size[0], axes, axes + 1):
        raise ValueError(f"theta must have shape {(size[0], axes, axes + 1)}; got {theta.shape}")
    if min(size) <= 0:
        raise ValueError(f"size must be positive; got {tuple(size)}")

    def places(length: int, axis: int) -> Array:
        line = np.linspace(-1.0, 1.0, length) if length > 1 else np.zeros(1)
        if not align_corners:
            line = line * ((length - 1) / length)
        shape = [-1 if i == axis else 1 for i in range(axes)]
        return jnp.asarray(line.reshape(shape), wide)

    wide = at_least_float32(theta.dtype)
    columns = [places(length, axis) for axis, length in enumerate(size[2:])][::-1]
    maps = theta.astype(wide).reshape(size[0], *(1,) * axes, axes, axes + 1)
    grid = maps[..., axes]
    for column, line in enumerate(columns):
        grid = grid + maps[..., column] * line[..., None]
    return jnp.broadcast_to(grid, (size[0], *size[2:], axes)).astype(theta.dtype)
