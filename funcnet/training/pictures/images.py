"""Images side by side, in whatever layout, and those that a model was most wrong about."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.checks import check_choice, check_positive
from funcnet.training.pictures.style import PALETTE, finished, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_colours", "image_grid", "shortened", "worst_mistakes"]

_DEPTHS = (1, 3, 4)


def image_grid(
    images: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int | None = None,
    channels: str | None = None,
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Draw images side by side: grey or in colours, channels first or last.

    What is not finite is vermilion.

    Args:
        images: ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)`` with C of 1, 3 or 4; or one row of images after
            another, ``(R, N, ...)`` with ``channels`` given.
        path: where to save the picture.
        titles: a line or two above each.
        title: above all.
        columns: how many stand in a row; by default about as many as there are rows.
        channels: ``"first"``, ``"last"`` or ``"none"``; None: as the shape tells.
        limits: what is black and what is white; by default 0 and 255 of integers, 0 and 1 of floats that lie within,
            and the smallest and the largest value of all images otherwise.

    Returns:
        The figure.

    Raises:
        ValueError: the shape is not one of these, or both orders of channels fit it; titles are not as many as images.

    Example:
        >>> images = np.random.default_rng(0).random((6, 3, 8, 8))
        >>> figure = fn.training.pictures.image_grid(images, "runs/images.png", columns=3)
        >>> len(figure.axes)
        6
    """
    colours = as_colours(images, channels, limits)
    if titles is not None and len(titles) != len(colours):
        raise ValueError(f"there are {len(colours)} images, but {len(titles)} titles")
    columns = columns or int(np.ceil(np.sqrt(len(colours))))
    check_positive("columns", columns)
    rows = -(-len(colours) // columns)
    lines = max((text.count("\n") + 1 for text in titles or ()), default=0)
    height, width = colours.shape[1:3]
    tall = float(np.clip(height / width, 0.25, 4.0))
    figure, grid = new_figure(
        rows,
        columns,
        size=(1.2 * columns, (1.2 * tall + 0.17 * lines) * rows + 0.4 * bool(title)),
        grid=False,
    )
    for place, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if place < len(colours):
            axes.imshow(colours[place])
        if titles is not None and place < len(colours):
            axes.set_title(titles[place], fontsize=7, pad=2, parse_math=False)
    for axes in grid.flat[len(colours) :]:
        axes.remove()
    if title:
        figure.suptitle(title, parse_math=False)
    return finished(figure, path)


def worst_mistakes(
    images: Any,
    labels: Any,
    outputs: Any = None,
    path: str | os.PathLike[str] | None = None,
    *,
    losses: Any = None,
    names: Sequence[str] | None = None,
    number: int = 24,
    columns: int = 6,
    channels: str | None = None,
    limits: tuple[float, float] | None = None,
) -> "Figure":
    r"""Draw the images that a model was most wrong about, the worst first.

    Args:
        images: all of them, as for `image_grid`.
        labels: the true classes ``(N,)``, or targets of another kind when there are ``losses`` and no ``outputs``.
        outputs: logits ``(N, C)``, such as `predict` returns, or predicted classes ``(N,)``. Only images that were
            taken for another class are drawn then; with logits those of the largest cross entropy come first.
        path: where to save the picture.
        losses: ``(N,)``, instead of the cross entropy; what is not finite comes first.
        names: of the classes.
        number: how many to draw at most.
        columns: how many stand in a row.
        channels: as for `image_grid`.
        limits: likewise.

    Returns:
        The figure; it says so if there is no mistake.

    Raises:
        ValueError: neither outputs nor losses are given, or lengths differ.

    Example:
        >>> images = np.random.default_rng(0).random((3, 8, 8))
        >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
        >>> figure = fn.training.pictures.worst_mistakes(images, np.array([0, 1, 1]), logits, names=["cat", "dog"])
        >>> [axes.get_title() for axes in figure.axes]
        ['dog, taken for cat\nloss 3.05', 'dog, taken for cat\nloss 1.31']
    """
    labels = np.asarray(labels)
    if outputs is None and losses is None:
        raise ValueError("worst_mistakes needs outputs or losses, to know what is wrong")
    outputs = None if outputs is None else np.asarray(outputs)
    losses = None if losses is None else np.asarray(losses, np.float64)
    if outputs is not None and losses is None and outputs.ndim == 2:
        losses = _cross_entropy(outputs.astype(np.float64), labels)
    _check_lengths(images=images, labels=labels, outputs=outputs, losses=losses)
    predicted = outputs.argmax(-1) if outputs is not None and outputs.ndim == 2 else outputs
    wrong = np.arange(len(labels)) if predicted is None else np.flatnonzero(predicted != labels)
    if losses is not None:
        badness = np.where(np.isfinite(losses), losses, np.inf)
        wrong = wrong[np.argsort(-badness[wrong], kind="stable")]
    shown = wrong[:number]
    if not len(shown):
        return _nothing(f"no mistake among {len(labels):,} images", path)
    texts = [_caption(i, labels, predicted, losses, names) for i in shown]
    of = (
        f"{len(wrong):,} mistakes of {len(labels):,}"
        if predicted is not None
        else f"{len(labels):,}"
    )
    return image_grid(
        np.asarray(images)[shown],
        path,
        titles=texts,
        title=f"the worst {len(shown)} of {of} images"
        if predicted is None
        else f"the worst {len(shown)} of {of}",
        columns=min(columns, len(shown)),
        channels=channels,
        limits=limits,
    )


def as_colours(
    images: Any, channels: str | None = None, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Return images as floats ``(N, H, W, 3 or 4)`` from 0 to 1, and what is not finite as vermilion.

    Args:
        images: as for `image_grid`.
        channels: likewise.
        limits: likewise.

    Example:
        >>> from funcnet.training.pictures.images import as_colours
        >>> as_colours(np.zeros((2, 1, 8, 8), np.uint8)).shape
        (2, 8, 8, 3)
    """
    values = np.asarray(images)
    low, high = limits or _limits(values)
    values = _last(values.astype(np.float64), channels)
    bad = ~np.isfinite(values).all(-1)
    values = np.clip((np.nan_to_num(values) - low) / ((high - low) or 1.0), 0.0, 1.0)
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, -1)
    vermilion = [int(PALETTE[1][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    values[bad] = (*vermilion, 1.0)[: values.shape[-1]]
    return values


def shortened(text: str, most: int = 24) -> str:
    """Return a text whose middle is left out if it is long.

    Example:
        >>> from funcnet.training.pictures.images import shortened
        >>> shortened("a tyrannosaurus of the late cretaceous", 20)
        'a tyrannos…retaceous'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"


def _limits(values: np.ndarray) -> tuple[float, float]:
    if values.dtype == np.bool_:
        return 0.0, 1.0
    if values.dtype == np.uint8:
        return 0.0, 255.0
    real = values[np.isfinite(values)] if values.dtype.kind != "i" else values.ravel()
    low, high = (float(real.min()), float(real.max())) if real.size else (0.0, 1.0)
    if values.dtype.kind in "iu" and low >= 0 and high <= 255:
        return 0.0, 255.0
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _last(values: np.ndarray, channels: str | None) -> np.ndarray:
    """Return images with channels as the last axis."""
    shape = values.shape
    if channels is None:
        channels = _guessed(shape)
    check_choice("channels", channels, ("first", "last", "none"))
    if channels == "none":
        values = values[..., None]
    elif channels == "first":
        values = np.moveaxis(values, -3, -1)
    if values.ndim < 4 or values.shape[-1] not in _DEPTHS:
        raise ValueError(
            f"images of channels={channels!r} have {'3 axes' if channels == 'none' else '4 axes, 1, 3 or 4 channels'}; "
            f"got shape {shape}"
        )
    return values.reshape(-1, *values.shape[-3:])


def _guessed(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "none"
    first, last = (len(shape) == 4 and shape[axis] in _DEPTHS for axis in (1, -1))
    if first == last:
        raise ValueError(
            f"images are (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels; got {shape}"
            + (", where channels may be either: write channels='first' or 'last'" if first else "")
        )
    return "first" if first else "last"


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels are classes (N,) as integers, for logits {logits.shape}; got {labels.dtype.name}"
            f"{list(labels.shape)}"
        )
    largest = logits.max(-1)
    with np.errstate(invalid="ignore"):  # of logits that are not finite the loss is NaN
        spread = np.log(np.exp(logits - largest[:, None]).sum(-1))
        return spread + largest - logits[np.arange(len(labels)), labels]


def _check_lengths(**arrays: Any) -> None:
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"each image needs its label and its output or loss; got {told}")


def _caption(index: int, labels: Any, predicted: Any, losses: Any, names: Any) -> str:
    def name(value: Any) -> str:
        if names is None or np.ndim(value):
            return (
                "" if np.ndim(value) else f"{value:.4g}" if value.dtype.kind == "f" else str(value)
            )
        return shortened(str(names[int(value)]), 16)

    told = name(labels[index])
    if predicted is not None:
        told = f"{told}, taken for {name(predicted[index])}"
    told = told if len(told) <= 22 else told.replace(", ", ",\n", 1)
    loss = "" if losses is None else f"loss {losses[index]:.3g}"
    return "\n".join(text for text in (told, loss) if text)


def _nothing(text: str, path: Any) -> "Figure":
    figure, axes = new_figure(size=(4.5, 1.2), grid=False)
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, text, ha="center", va="center")
    return finished(figure, path)
