"""The picture of how alike layers are."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.training.pictures.images import shortened
from funcnet.training.pictures.style import finished, label_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["similarity_matrix"]

_MOST_WITH_NUMBERS = 12


def similarity_matrix(
    values: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw how alike layers are, from 0 to 1, the first layer at the top and to the left.

    Up to 12 layers the numbers are written too.

    Args:
        values: ``(rows, columns)``, such as `CKA.values`.
        path: where to save the picture.
        rows: names of the layers from top to bottom.
        columns: from left to right; by default the same.
        title: above it.

    Returns:
        The figure.

    Raises:
        ValueError: the names are not as many as rows or columns.

    Example:
        >>> figure = fn.training.pictures.similarity_matrix(np.eye(2), "alike.png", rows=["conv1", "fc"])
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['conv1', 'fc']
    """
    matrix = np.asarray(values, float)
    columns = rows if columns is None else columns
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(
            f"the matrix has shape {matrix.shape}, but there are {len(rows)} names of rows and "
            f"{len(columns)} of columns"
        )
    written = max(matrix.shape) <= _MOST_WITH_NUMBERS
    height, width = (max(2.5, (0.5 if written else 0.2) * number) for number in matrix.shape)
    figure, grid = new_figure(size=(width + 2.4, height + 1.4), grid=False)
    axes = grid[0, 0]
    image = axes.imshow(matrix, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, label="similarity (fraction)")
    texts = [[shortened(str(name)) for name in names] for names in (rows, columns)]
    upright = max(map(len, texts[1]), default=0) > 4
    axes.set_yticks(range(len(rows)), texts[0], fontsize=8, parse_math=False)
    axes.set_xticks(
        range(len(columns)), texts[1], fontsize=8, rotation=90 if upright else 0, parse_math=False
    )
    if written:
        for (row, column), value in np.ndenumerate(matrix):
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            color = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", color=color, **style)
    label_axes(axes, title or "", x="layer", y="layer")
    return finished(figure, path)
