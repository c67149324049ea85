"""plot: what runs reported, as curves."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.checks import check_choice
from funcnet.training.pictures.records import Records, Source, read_records
from funcnet.training.pictures.style import (
    curve_style,
    finished,
    label_axes,
    new_figure,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_PLACES = ("epoch", "step", "seconds")
_PARTS = ("train", "eval", "test")


@dataclass(frozen=True)
class _Curve:
    """One metric of one run."""

    panel: str
    part: str
    run: str
    detail: str
    x: np.ndarray
    y: np.ndarray

    @property
    def label(self) -> str:
        return ", ".join(text for text in (self.run, self.detail, self.part) if text)


def plot(
    history: Source | Mapping[str, Source],
    path: str | os.PathLike[str] | None = None,
    *,
    names: str | Iterable[str] | None = None,
    x: str | None = None,
    log: str | Iterable[str] = (),
    smooth: int = 1,
    units: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw what a run reported, or several: one panel a metric, training and evaluation together.

    What is not finite is a cross at the bottom of its panel.

    Args:
        history: what `fit` returned; or the path of a log that `CSVLog` or `JSONLog` wrote, also while the run goes
            on; or several by name, ``{"sgd": history, "adam": "runs/adam/log.csv"}``, to be compared.
        path: where to save the picture; its ending says which kind (``.png``, ``.svg``, ``.pdf``).
        names: which metrics, such as ``"loss"``, ``"eval/accuracy"``; None: all there are.
        x: what goes to the right: ``"epoch"``, ``"step"`` or ``"seconds"``; None: epochs, unless a record lies within
            one.
        log: metrics on a logarithmic scale.
        smooth: draw the mean of so many records in front of the records themselves.
        units: of metrics, such as ``{"loss": "nats"}``; those of seconds and the like are known.

    Returns:
        The figure: a notebook shows it.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: there is no such metric; the message lists them.
        ValueError: there are no records, or none with what goes to the right.

    Example:
        >>> records = [{"epoch": 1, "step": 100, "train/loss": 0.9, "eval/loss": 0.8},
        ...            {"epoch": 2, "step": 200, "train/loss": 0.5, "eval/loss": 0.6}]
        >>> figure = fn.training.plot(fn.training.History(records), "runs/curves.png")
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss']
    """
    if x is not None:
        check_choice("x", x, _PLACES)
    if smooth < 1:
        raise ValueError(f"smooth is how many records a mean is of, at least 1; got {smooth}")
    runs = _runs(history)
    x = x or _place(runs)
    panels = _panels(_selected(_curves(runs, x), names))
    log, units = _listed(log), units or {}
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    beside = max(map(_width_beside, panels.values()))
    one_legend = beside > 0 and len({tuple(c.label for c in cs) for cs in panels.values()}) == 1
    width = 4.5 * columns + beside * (1 if one_legend else columns)
    figure, grid = new_figure(rows, columns, size=(width, 3.2 * rows))
    for axes, (panel, curves) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, curves, panel in log, smooth)
        label_axes(axes, x=_named(x), y=with_unit(panel, units.get(panel)))
        if not one_legend:
            _legend(axes, axes, curves)
    if one_legend:
        _legend(figure, grid[0, 0], next(iter(panels.values())))
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    return finished(figure, path)


def _runs(history: Any) -> dict[str, Records]:
    named = history if isinstance(history, Mapping) else {"": history}
    runs = {name: read_records(source) for name, source in named.items()}
    if not runs or not any(runs.values()):
        raise ValueError("there is nothing to draw: no record has been made yet")
    return runs


def _place(runs: Mapping[str, Records]) -> str:
    """Choose epochs where each record has its own, else steps."""
    epochs = [[row.get("epoch") for row in rows] for rows in runs.values()]
    if all(None not in of_run and len(set(of_run)) == len(of_run) for of_run in epochs):
        return "epoch"
    return "step"


def _curves(runs: Mapping[str, Records], place: str) -> dict[str, list[_Curve]]:
    """Return the curves of all runs, by the names of what they show."""
    found: dict[str, list[_Curve]] = {}
    for run, rows in runs.items():
        for name in dict.fromkeys(name for row in rows for name in row if name not in _PLACES):
            part, metric = _split(name)
            panel, _, detail = metric.partition("/")
            points = [(row[place], row[name]) for row in rows if name in row and place in row]
            if points:
                values = np.array(points, np.float64).T
                found.setdefault(name, []).append(_Curve(panel, part, run, detail, *values))
    if not found:
        known = sorted({name for rows in runs.values() for row in rows for name in row})
        raise ValueError(
            f"no record has both a metric and {place!r}, which goes to the right (x=); there are: {', '.join(known)}"
        )
    return found


def _split(name: str) -> tuple[str, str]:
    part, slash, metric = name.partition("/")
    return (part, metric) if slash and part in _PARTS else ("", name)


def _selected(curves: dict[str, list[_Curve]], names: Any) -> list[_Curve]:
    wanted = list(curves) if names is None else _listed(names)
    found: dict[str, list[_Curve]] = {}
    for want in wanted:
        fitting = {
            name: c for name, c in curves.items() if want in {name, _split(name)[1], c[0].panel}
        }
        if not fitting:
            raise KeyError(f"no metric {want!r}; there are: {', '.join(sorted(curves))}")
        found |= fitting
    return [curve for several in found.values() for curve in several]


def _panels(curves: list[_Curve]) -> dict[str, list[_Curve]]:
    panels: dict[str, list[_Curve]] = {}
    for curve in curves:
        panels.setdefault(curve.panel, []).append(curve)
    return panels


def _draw(axes: "Axes", curves: list[_Curve], log: bool, smooth: int) -> None:
    if log:
        axes.set_yscale("log")
    groups = list(dict.fromkeys((curve.run, curve.detail) for curve in curves))
    curves.sort(key=lambda curve: groups.index((curve.run, curve.detail)))
    for curve in curves:
        style = curve_style(groups.index((curve.run, curve.detail)))
        if len(groups) == 1:  # of one run, the parts differ by colour
            style = curve_style(_PARTS.index(curve.part) if curve.part else 0)
        elif curve.part == "train":
            style["linestyle"], style["linewidth"] = "dashed", 1.0
        shown = np.isfinite(curve.y) & ((curve.y > 0) | (not log))
        y = np.where(shown, curve.y, np.nan)
        marker = "o" if len(y) <= 30 or _has_lonely(shown) else ""
        if 1 < smooth < len(y):
            axes.plot(curve.x, y, **{**style, "linewidth": 0.8, "alpha": 0.3})
            y, marker = _mean_of(y, smooth), ""
        axes.plot(curve.x, y, **style, marker=marker, markersize=3.5, label=curve.label)
        _cross(axes, curve.x[~shown], style["color"], log)
    if not any(np.isfinite(curve.y).any() for curve in curves):
        axes.set_yticks([])
    _ticks(axes, curves)


def _cross(axes: "Axes", places: np.ndarray, color: str, log: bool) -> None:
    """Mark what cannot be drawn, on the axis."""
    if len(places):
        text = "not finite, or not above 0" if log else "not finite"
        across = axes.get_xaxis_transform()
        heights = np.zeros(len(places))
        axes.plot(places, heights, "x", color=color, transform=across, clip_on=False, label=text)


def _ticks(axes: "Axes", curves: list[_Curve]) -> None:
    """Keep ticks of epochs and steps whole, also where there is one epoch only."""
    places = np.concatenate([curve.x for curve in curves])
    if (places == np.round(places)).all():
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if np.ptp(places) == 0:
            axes.set_xlim(places[0] - 1, places[0] + 1)


def _has_lonely(shown: np.ndarray) -> bool:
    """Tell whether a value has no neighbour that a line could lead to."""
    padded = np.concatenate([[False], shown, [False]])
    return bool((padded[1:-1] & ~padded[:-2] & ~padded[2:]).any())


def _mean_of(values: np.ndarray, number: int) -> np.ndarray:
    """Return the means of the last values, so many of them, of those that are finite."""
    real = np.isfinite(values)
    sums, counts = (np.cumsum(np.where(real, of, 0.0)) for of in (values, np.ones(len(values))))
    before = np.maximum(np.arange(len(values)) - number, -1)
    sums, counts = (of - np.where(before < 0, 0.0, of[before]) for of in (sums, counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _width_beside(curves: list[_Curve]) -> float:
    """Return the inches beside a panel that a legend takes which does not fit into it; 0 of one that does."""
    longest = max(len(curve.label) for curve in curves)
    return longest / 14 + 0.6 if len(curves) > 6 or longest > 24 else 0.0


def _legend(where: Any, axes: "Axes", curves: list[_Curve]) -> None:
    """Write the labels of the lines of axes into them, beside them, or beside the figure."""
    lines = {str(line.get_label()): line for line in axes.lines}
    lines = {label: line for label, line in lines.items() if not label.startswith("_child")}
    lines.pop("", None)  # the only curve of its panel
    if not lines:
        return
    small = sum(len(curve.x) for curve in curves) < 10_000  # to look for a free corner takes long
    place: dict[str, Any] = {"loc": "best" if small else "upper right"}
    if where is not axes:
        place = {"loc": "outside right upper"}
    elif _width_beside(curves):
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    legend = where.legend(lines.values(), lines, frameon=False, fontsize="small", **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _named(place: str) -> str:
    return "time (s)" if place == "seconds" else place


def _listed(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
