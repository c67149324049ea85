"""Draw curves as SVG: a few kilobytes, the same bytes each time, readable on light and dark pages.

The background is transparent and lines are of middle tones, because a page's theme does not reach into its pictures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

__all__ = ["COLORS", "Curve", "draw"]

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 40, 384, 30, 200
"""Where the curves are, in pixels."""

COLORS = ("#3b86d1", "#d97a1f", "#4c9a5b")
"""Of the first curve, the second and so on."""

GREY = "#7a818a"


@dataclass(frozen=True)
class Curve:
    """A line through points.

    Attributes:
        label: its name.
        x, y: the points.
        dashed: for what is derived from another curve.
        broken: whether the line breaks where a value jumps.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    dashed: bool = False
    broken: bool = True


def draw(curves: Sequence[Curve], said: str, across: str, up: str = "") -> str:
    """Draw curves in one pair of axes.

    Args:
        curves: at most three.
        said: a sentence for those who do not see the picture.
        across: what goes to the right.
        up: what goes up, if the curves' names do not say it.
    """
    xs = np.concatenate([c.x for c in curves])
    ys = np.concatenate([c.y for c in curves])
    frame = _Frame(xs.min(), xs.max(), *_room(ys.min(), ys.max()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" font-family="sans-serif" font-size="11">',
        f"<title>{escape(said)}</title>",
        *_axes(frame, across, up),
        *_legend(curves),
    ]
    for curve, color in zip(curves, COLORS, strict=False):
        dashes = ' stroke-dasharray="5 3"' if curve.dashed else ""
        parts.append(
            f'<path d="{_path(curve, frame)}" fill="none" stroke="{color}" stroke-width="2"'
            f'{dashes} stroke-linejoin="round"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Frame:
    """What lies at the edges of the picture."""

    left: float
    right: float
    low: float
    high: float

    def across(self, x: Any) -> Any:
        return LEFT + (np.asarray(x) - self.left) / (self.right - self.left) * (RIGHT - LEFT)

    def up(self, y: Any) -> Any:
        return BOTTOM - (np.asarray(y) - self.low) / (self.high - self.low) * (BOTTOM - TOP)


def _room(low: float, high: float) -> tuple[float, float]:
    """Leave some room below and above."""
    margin = 0.06 * (high - low or 1.0)
    return low - margin, high + margin


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Choose round numbers between two."""
    rough = (high - low) / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * 0.999)
    first = np.ceil(low / step - 1e-9)
    found = [float(step * k) for k in np.arange(first, high / step + 1e-9)]
    return [0.0 if abs(t) < step * 1e-6 else t for t in found]


def _axes(frame: _Frame, across: str, up: str) -> Iterable[str]:
    yield f'<g stroke="{GREY}" stroke-opacity=".3">'
    for x in ticks(frame.left, frame.right, 6):
        yield _line(frame.across(x), TOP, frame.across(x), BOTTOM, strong=x == 0 > frame.left)
    for y in ticks(frame.low, frame.high, 4):
        yield _line(LEFT, frame.up(y), RIGHT, frame.up(y), strong=y == 0)
    yield f'</g><g fill="{GREY}" text-anchor="middle">'
    for x in ticks(frame.left, frame.right, 6):
        yield f'<text x="{frame.across(x):.0f}" y="{BOTTOM + 14}">{_number(x)}</text>'
    yield f'<text x="{(LEFT + RIGHT) / 2:.0f}" y="{HEIGHT - 3}">{escape(across)}</text>'
    yield f'</g><g fill="{GREY}" text-anchor="end">'
    for y in ticks(frame.low, frame.high, 4):
        yield f'<text x="{LEFT - 5}" y="{frame.up(y) + 4:.0f}">{_number(y)}</text>'
    yield "</g>"
    if up:
        yield f'<text x="{LEFT}" y="{TOP - 12}" fill="{GREY}">{escape(up)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, strong: bool) -> str:
    more = ' stroke-opacity=".9"' if strong else ""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"{more}/>'


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "\u2212")


def _legend(curves: Sequence[Curve]) -> Iterable[str]:
    """Name the curves above the picture, from the right; one curve needs no name."""
    if len(curves) == 1:
        return
    place = RIGHT
    for curve, color in reversed(list(zip(curves, COLORS, strict=False))):
        dashes = ' stroke-dasharray="5 3"' if curve.dashed else ""
        yield f'<text x="{place:g}" y="{TOP - 12}" fill="{GREY}" text-anchor="end">{escape(curve.label)}</text>'
        place -= 6 * len(curve.label) + 10
        yield (
            f'<path d="M{place - 20:g} {TOP - 16}h20" stroke="{color}" stroke-width="2"{dashes}/>'
        )
        place -= 32


def _path(curve: Curve, frame: _Frame) -> str:
    """Write a line; points that lie on the line through their neighbours are left out."""
    points = np.stack([frame.across(curve.x), frame.up(curve.y)], 1)
    if not curve.broken:
        return _piece(points)
    jumps = np.flatnonzero(_is_jump(points[:, 1])) + 1
    return "".join(_piece(piece) for piece in np.split(points, jumps) if len(piece) > 1)


def _is_jump(y: np.ndarray) -> np.ndarray:
    """Find steps that are much larger than those before and after them."""
    steps = np.abs(np.diff(y))
    around = np.maximum(np.append(0, steps[:-1]), np.append(steps[1:], 0))
    return steps > 8 * np.maximum(around, 0.25)


def _piece(points: np.ndarray) -> str:
    kept = np.round(points[_needed(points)] * 10).astype(int)
    moves = np.diff(kept, axis=0)
    start = f"M{kept[0, 0] / 10:g} {kept[0, 1] / 10:g}l"
    return start + " ".join(f"{x / 10:g} {y / 10:g}" for x, y in moves)


def _needed(points: np.ndarray, off: float = 0.15) -> list[int]:
    """Choose the points without which the line would be off by more than this (Douglas and Peucker)."""
    kept, spans = {0, len(points) - 1}, [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        along = points[last] - points[first]
        between = points[first + 1 : last] - points[first]
        away = np.abs(between[:, 0] * along[1] - between[:, 1] * along[0]) / np.hypot(*along)
        if away.max() > off:
            middle = first + 1 + int(away.argmax())
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return sorted(kept)
