"""Images of the filters of a first layer."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.checks import check_positive
from funcnet.training.pictures.style import finished, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["filter_images"]


def filter_images(
    weight: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    number: int = 64,
    columns: int = 8,
    title: str = "",
) -> "Figure":
    """Draw what the filters of a first layer look for.

    Filters over three channels are drawn in colours, where mid-grey is zero; others one image a channel, blue where
    the weight is negative and orange where it is positive. All share one scale, from minus to plus the largest weight.

    Args:
        weight: of a convolution, ``(O, C, H, W)`` or ``(O, C, L)``, such as ``params["conv1"]["weight"]``; or of a
            linear layer, ``(O, features)``, with ``shape``.
        path: where to save the picture.
        shape: of the images that a linear layer takes as features: ``(H, W)`` or ``(C, H, W)``.
        number: how many filters to draw at most.
        columns: how many images stand in a row.
        title: above all.

    Returns:
        The figure.

    Raises:
        ValueError: the weight is of neither kind, or ``shape`` does not fit it.

    Example:
        >>> params, _ = fn.functionalize(nn.Conv2d(3, 16, 5)).init(jax.random.key(0))
        >>> figure = fn.training.pictures.filter_images(params["weight"], "runs/filters.png")
        >>> len(figure.axes)
        16
    """
    check_positive("number", number)
    check_positive("columns", columns)
    filters = _as_filters(np.asarray(weight, np.float32), shape)[:number]
    real = np.abs(filters[np.isfinite(filters)])
    largest = float(real.max()) if real.size and real.max() > 0 else 1.0
    coloured = filters.shape[1] == 3
    images = np.moveaxis(filters, 1, -1) if coloured else filters.reshape(-1, *filters.shape[2:])
    if not coloured and filters.shape[1] > 1:
        columns = min(filters.shape[1], 16)  # one filter a row
    images = images[: 16 * number]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    tall = float(np.clip(images.shape[1] / images.shape[2], 0.25, 3.0))
    size = (0.75 * columns + 1.2, 0.75 * tall * rows + 0.4 + 0.3 * bool(title))
    figure, grid = new_figure(rows, columns, size=(size[0], max(size[1], 1.6)), grid=False)
    drawn: Any = None
    for axes, image in zip(grid.flat, images, strict=False):
        axes.set_axis_off()
        if coloured:
            axes.imshow(np.clip(np.nan_to_num(image) / (2 * largest) + 0.5, 0, 1))
        else:
            drawn = axes.imshow(image, cmap="PuOr_r", vmin=-largest, vmax=largest)
    for axes in grid.flat[len(images) :]:
        axes.remove()
    if drawn is not None:
        figure.colorbar(drawn, ax=figure.axes, shrink=0.8, label="weight")
    told = f"{title}, " if title else ""
    scale = f"{told}grey is 0, full colour is ±{largest:.3g}" if coloured else title
    if scale:
        figure.suptitle(scale, fontsize="medium", parse_math=False)
    return finished(figure, path)


def _as_filters(weight: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return ``(O, C, H, W)``."""
    if weight.ndim == 2 and shape is not None:
        if np.prod(shape) != weight.shape[1] or len(shape) not in {2, 3}:
            raise ValueError(
                f"shape is (H, W) or (C, H, W) of {weight.shape[1]} features; got {tuple(shape)}"
            )
        weight = weight.reshape(len(weight), *shape)
        return weight[:, None] if len(shape) == 2 else weight
    if weight.ndim == 3:
        return weight[:, :, None, :]
    if weight.ndim == 4:
        return weight
    raise ValueError(
        "filters are the weight of a convolution, (O, C, H, W) or (O, C, L), or that of a linear layer, "
        f"(O, features), with shape=(H, W); got shape {weight.shape}"
    )
