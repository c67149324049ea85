"""Resizing by two small matrix products, one for each axis."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from funcnet.core.checks import check_choice, check_positive

__all__ = ["Resize", "resize", "to_dtype"]


def to_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert to a dtype; to an integer one by rounding, within its range.

    >>> from funcnet.data.augment.resize import to_dtype
    >>> to_dtype(np.array([-3.0, 2.6, 300.0]), np.dtype(np.uint8))
    array([  0,   3, 255], dtype=uint8)
    """
    if dtype.kind not in "iu":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


@lru_cache(maxsize=256)
def _weights(size: int, out: int, antialias: bool) -> np.ndarray:
    """Build the matrix of bilinear weights ``(out, size)``: a triangle around each output's centre."""
    scale = size / out
    width = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(out) + 0.5) * scale - 0.5
    if not antialias:
        centres = np.clip(centres, 0, size - 1)
    distance = np.abs(np.arange(size)[None, :] - centres[:, None]) / width
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resize(
    image: np.ndarray, size: tuple[int, int], method: str = "bilinear", antialias: bool = True
) -> np.ndarray:
    r"""Resize an image.

    Output pixel ``i`` of ``n`` lies at ``(i + ½) N / n - ½`` of the ``N`` input pixels; bilinear
    weights fall off as a triangle around it, as wide as the pixels are far apart where the image
    shrinks.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``.
        size: ``(height, width)`` of the result.
        method: ``"bilinear"`` or ``"nearest"``.
        antialias: widen the triangle where the image shrinks, as Pillow always does.

    Returns:
        The image in its own dtype.

    Raises:
        ValueError: the method is unknown or the size not positive.

    Example:
        >>> data.augment.resize(np.array([[0.0, 2.0]]), (1, 4))
        array([[0. , 0.5, 1.5, 2. ]])
    """
    check_choice("method", method, ("bilinear", "nearest"))
    check_positive("size", size)
    if image.shape[:2] == tuple(size):
        return image
    if method == "nearest":
        rows, columns = (
            np.minimum(((np.arange(n) + 0.5) * old / n).astype(np.intp), old - 1)
            for n, old in zip(size, image.shape[:2], strict=True)
        )
        return image[rows[:, None], columns]
    down = _weights(image.shape[0], size[0], antialias)
    across = _weights(image.shape[1], size[1], antialias)
    values = image.astype(np.float32, copy=False)
    values = np.tensordot(down, values, axes=(1, 0))
    values = np.moveaxis(np.tensordot(across, values, axes=(1, 1)), 0, 1)
    return to_dtype(values, image.dtype)


@dataclass(frozen=True)
class Resize:
    """Resize every image to one size, or its shorter side to a length.

    Args:
        size: ``(height, width)``, or the length of the shorter side.
        method: ``"bilinear"`` or ``"nearest"``.

    Example:
        >>> data.augment.Resize(8)(np.zeros((16, 32, 3), np.uint8)).shape
        (8, 16, 3)
    """

    size: int | tuple[int, int]
    method: str = "bilinear"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resize one image."""
        if isinstance(self.size, int):
            height, width = image.shape[:2]
            short = min(height, width)
            size = (int(self.size * height / short), int(self.size * width / short))
        else:
            size = self.size
        return resize(image, size, self.method)
