"""How all pictures look: colours that colour-blind people can tell apart, sizes, labels, and how they are saved."""

import io
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.files import as_path, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "UNITS", "curve_style", "finished", "label_axes", "new_figure", "with_unit"]

PALETTE = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#E69F00",  # orange
    "#CC79A7",  # purple
    "#56B4E9",  # sky blue
    "#000000",  # black
    "#F0E442",  # yellow: last, because lines in it are pale on white
)
"""Okabe and Ito's eight colours."""

UNITS = {
    "accuracy": "fraction",
    "samples_per_second": "samples/s",
    "seconds": "s",
    "tokens_per_second": "tokens/s",
}
"""The units of what records hold, by the last part of its name; a loss has whatever unit the loss has."""

_DASHES = ("solid", "dashed", "dotted", "dashdot")

_LOOK: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.titlesize": "large",
    "font.size": 10.0,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",  # the same order of brightness for everybody
    "image.interpolation": "nearest",
    "lines.linewidth": 1.6,
}


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, grid: bool = True
) -> "tuple[Figure, np.ndarray]":
    """Make an empty figure in the style of all pictures.

    It belongs to nobody but the caller: matplotlib's ``pyplot`` keeps no reference to it, so that a loop may make
    thousands. A notebook shows it as the last value of a cell; elsewhere it is looked at by saving it.

    Args:
        rows: of axes.
        columns: of axes.
        size: width and height of the whole in inches; by default each axes is 4.5 by 3.2.
        grid: whether axes have lines behind the data: for curves, not for images.

    Returns:
        ``(figure, axes)``, the axes as an array ``(rows, columns)``.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from funcnet.training.pictures import PALETTE, finished, label_axes, new_figure
        >>> figure, axes = new_figure(1, 2)
        >>> _ = axes[0, 0].plot([1, 2, 3], color=PALETTE[0])
        >>> label_axes(axes[0, 0], "Height of a plant", x="age (days)", y="height (cm)")
        >>> figure = finished(figure, "runs/plant.png")
    """
    figure_class = _figure_class()
    from matplotlib import rc_context

    width, height = size or (4.5 * columns, 3.2 * rows)
    look: Any = {**_LOOK, "axes.grid": grid}
    with rc_context(look):
        figure = figure_class(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def finished(
    figure: "Figure", path: str | os.PathLike[str] | None = None, *, dpi: int = 120
) -> "Figure":
    """Return a figure, saved if there is a path; a reader never sees half of the file.

    Args:
        figure: of matplotlib.
        path: of the file; its ending says which kind: ``.png``, ``.svg``, ``.pdf``, ``.jpg``.
        dpi: dots an inch, for kinds that have dots.

    Raises:
        ValueError: the path ends in nothing that matplotlib writes.

    Example:
        >>> from funcnet.training.pictures import finished, new_figure
        >>> finished(new_figure()[0], "runs/empty.svg").axes
        [<Axes: >]
    """
    if path is not None:
        write_atomically(path, _drawn(figure, as_path(path).suffix.removeprefix("."), dpi))
    return figure


def label_axes(axes: "Axes", title: str = "", *, x: str = "", y: str = "") -> None:
    """Write a title and the names of both axes, as they are: a ``$`` begins no formula.

    Args:
        axes: of matplotlib.
        title: above it.
        x: what goes to the right, with its unit: ``"time (s)"``.
        y: what goes up.
    """
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)


def curve_style(number: int) -> dict[str, Any]:
    """Return the colour and dashes of one of many curves, as keywords of ``axes.plot``.

    Args:
        number: from 0; all differ up to 31.

    Example:
        >>> from funcnet.training.pictures import curve_style
        >>> curve_style(0)
        {'color': '#0072B2', 'linestyle': 'solid'}
        >>> curve_style(8)
        {'color': '#0072B2', 'linestyle': 'dashed'}
    """
    dashes = _DASHES[number // len(PALETTE) % len(_DASHES)]
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": dashes}


def with_unit(name: str, unit: str | None = None) -> str:
    """Return a label: a name in words, and its unit if it has one.

    Args:
        name: of a metric.
        unit: of it; None looks it up in `UNITS`.

    Example:
        >>> from funcnet.training.pictures.style import with_unit
        >>> with_unit("samples_per_second"), with_unit("loss"), with_unit("loss", "nats")
        ('samples per second (samples/s)', 'loss', 'loss (nats)')
    """
    unit = UNITS.get(name.rpartition("/")[2], "") if unit is None else unit
    words = name.replace("_", " ")
    return f"{words} ({unit})" if unit else words


@lru_cache(maxsize=1)
def _figure_class() -> "type[Figure]":
    """Return matplotlib's figure, with what notebooks ask for to show one that no ``pyplot`` knows."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib: pip install matplotlib, or "funcnet[examples]"'
        ) from error

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            return _drawn(self, "png", 100)

    return Picture


def _drawn(figure: "Figure", kind: str, dpi: int) -> bytes:
    known = figure.canvas.get_supported_filetypes()
    if kind.lower() not in known:
        raise ValueError(
            f"a picture's path ends in its kind, such as .png, .svg or .pdf; got {'.' + kind if kind else 'no ending'}"
            f". matplotlib writes: {', '.join(sorted(known))}"
        )
    file = io.BytesIO()
    figure.savefig(file, format=kind.lower(), dpi=dpi)
    return file.getvalue()
