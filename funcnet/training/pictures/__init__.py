"""Pictures of a run and of a model: curves, confusions, mistakes, filters, attention.

Each function takes data, returns a figure of matplotlib, and saves it if it is given a path. Pictures of one's own are
made in the same style by `new_figure`, `PALETTE`, `curve_style`, `label_axes` and `finished`.
"""

from funcnet.training.pictures.attention import attention_maps, attention_weights
from funcnet.training.pictures.confusions import confusion_matrix
from funcnet.training.pictures.curves import plot
from funcnet.training.pictures.filters import filter_images
from funcnet.training.pictures.images import image_grid, worst_mistakes
from funcnet.training.pictures.similarities import similarity_matrix
from funcnet.training.pictures.style import (
    PALETTE,
    UNITS,
    curve_style,
    finished,
    label_axes,
    new_figure,
)

__all__ = [
    "PALETTE",
    "UNITS",
    "attention_maps",
    "attention_weights",
    "confusion_matrix",
    "curve_style",
    "filter_images",
    "finished",
    "image_grid",
    "label_axes",
    "new_figure",
    "plot",
    "similarity_matrix",
    "worst_mistakes",
]
