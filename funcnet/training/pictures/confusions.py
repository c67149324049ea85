"""The picture of a confusion matrix."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.training.pictures.images import shortened
from funcnet.training.pictures.style import finished, label_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]

_MOST_WITH_NUMBERS = 20


def confusion_matrix(
    matrix: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw a confusion matrix: true classes from top to bottom, predicted ones from left to right.

    The colour of a cell of counts is its share of the row: of the samples of a class, how many were taken for which.
    Up to 20 classes the numbers are written too.

    Args:
        matrix: the value of `metrics.ConfusionMatrix`, ``(C, C)``: counts, or shares if it normalizes.
        path: where to save the picture.
        names: of the classes, in their order; by default their numbers.
        title: above it; by default, of counts, the accuracy and the number of samples.

    Returns:
        The figure.

    Raises:
        ValueError: the matrix is not square, has negative values (as after outputs with NaN), or names are not as many.

    Example:
        >>> metric = fn.training.metrics.ConfusionMatrix(2)
        >>> matrix = metric.measure(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]))
        >>> figure = fn.training.pictures.confusion_matrix(matrix, "runs/confusion.png", names=["cat", "dog"])
        >>> figure.axes[0].get_title()
        'accuracy 0.667 of 3 samples'
    """
    values = np.asarray(matrix)
    _check(values, names)
    number = len(values)
    counted = values.dtype.kind in "iu"
    shares = values / np.maximum(values.sum(1, keepdims=True), 1) if counted else values
    written = number <= _MOST_WITH_NUMBERS
    cell = 0.5 if written else max(0.11, 12 / number) if names is None or number > 110 else 0.14
    side = max(3.0, cell * number)
    figure, grid = new_figure(size=(side + 1.8, side + 0.9), grid=False)
    axes = grid[0, 0]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1 if counted else None)
    share = "share of the true class (fraction)" if counted else "share (fraction)"
    figure.colorbar(image, ax=axes, shrink=0.8, label=share)
    _name_classes(axes, number, names)
    if written:
        _write_numbers(axes, values, image, counted)
    if title is None and counted:
        right = values.trace() / max(values.sum(), 1)
        title = f"accuracy {right:.3f} of {values.sum():,} samples"
    label_axes(axes, title or "", x="predicted class", y="true class")
    return finished(figure, path)


def _check(values: np.ndarray, names: Any) -> None:
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size:
        raise ValueError(f"a confusion matrix is (C, C); got shape {values.shape}")
    if names is not None and len(names) != len(values):
        raise ValueError(f"the matrix has {len(values)} classes, but there are {len(names)} names")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            "the matrix has values that are negative or not finite, as `ConfusionMatrix` returns after outputs with "
            "NaN: find the first such outputs, or leave those rows out by where="
        )


def _name_classes(axes: "Axes", number: int, names: Any) -> None:
    size = 9 if number <= 40 else 6
    if names is None:
        places = np.arange(0, number, max(1, number // 20))
        axes.set_xticks(places, [str(place) for place in places], fontsize=size)
        axes.set_yticks(places, [str(place) for place in places], fontsize=size)
        return
    texts = [shortened(str(name)) for name in names]
    upright = max(map(len, texts)) * number > 60
    axes.set_xticks(
        range(number), texts, fontsize=size, rotation=90 if upright else 0, parse_math=False
    )
    axes.set_yticks(range(number), texts, fontsize=size, parse_math=False)


def _write_numbers(axes: "Axes", values: np.ndarray, image: Any, counted: bool) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not value:
            continue  # an empty cell is seen as one
        dark = image.norm(image.get_array()[row, column]) > 0.55
        text = _short(int(value)) if counted else f"{value:.2f}".removeprefix("0")
        style = {"color": "white" if dark else "black", "fontsize": 8, "ha": "center"}
        axes.text(column, row, text, va="center", **style)


def _short(count: int) -> str:
    """Return a count in at most five signs."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            unit = 1000 if letter == "k" else size
            return f"{count / unit:.3g}{letter}"
    return str(count)
