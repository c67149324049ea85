"""Turn images by a random angle."""

from dataclasses import dataclass

import numpy as np

from funcnet.core.checks import check_choice
from funcnet.data.augment.resize import to_dtype

__all__ = ["RandomRotation"]


@dataclass(frozen=True)
class RandomRotation:
    r"""Turn about the middle by a random angle, keeping the size.

    Output pixel ``(y, x)``, counted from the middle, takes the value at
    ``(y cos a + x sin a, x cos a - y sin a)``: counter-clockwise by ``a``.

    Args:
        degrees: the range ``(-degrees, degrees)``, or ``(low, high)``.
        fill: the value outside the image.
        method: ``"bilinear"`` or ``"nearest"``.

    Example:
        >>> turn = data.augment.RandomRotation((90, 90))
        >>> turn(np.array([[1, 2], [3, 4]]), np.random.default_rng(0)).tolist()
        [[2, 4], [1, 3]]
    """

    degrees: float | tuple[float, float]
    fill: float = 0
    method: str = "bilinear"

    def __post_init__(self) -> None:
        check_choice("method", self.method, ("bilinear", "nearest"))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rotate one image."""
        low, high = (
            self.degrees if isinstance(self.degrees, tuple) else (-self.degrees, self.degrees)
        )
        angle = np.deg2rad(rng.uniform(low, high))
        rows, columns = image.shape[:2]
        y = np.arange(rows)[:, None] - (rows - 1) / 2
        x = np.arange(columns)[None, :] - (columns - 1) / 2
        sine, cosine = np.sin(angle), np.cos(angle)
        from_y = y * cosine + x * sine + (rows - 1) / 2
        from_x = x * cosine - y * sine + (columns - 1) / 2
        return _sample(image, from_y, from_x, self.fill, self.method)


def _sample(
    image: np.ndarray, y: np.ndarray, x: np.ndarray, fill: float, method: str
) -> np.ndarray:
    """Read an image at fractional places; outside it is `fill`."""
    # One pixel of margin: there bilinear weights fade into the fill.
    margin = [(1, 1), (1, 1)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image.astype(np.float32), margin, constant_values=fill)
    y = np.clip(y + 1, 0, padded.shape[0] - 1)
    x = np.clip(x + 1, 0, padded.shape[1] - 1)
    if method == "nearest":
        return to_dtype(padded[np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)], image.dtype)
    top = np.minimum(y.astype(np.intp), padded.shape[0] - 2)
    left = np.minimum(x.astype(np.intp), padded.shape[1] - 2)
    extra = (...,) + (None,) * (image.ndim - 2)
    down, right = (y - top)[extra].astype(np.float32), (x - left)[extra].astype(np.float32)
    upper = padded[top, left] * (1 - right) + padded[top, left + 1] * right
    lower = padded[top + 1, left] * (1 - right) + padded[top + 1, left + 1] * right
    return to_dtype(upper * (1 - down) + lower * down, image.dtype)
