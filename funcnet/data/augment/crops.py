"""Pad images and cut out parts of them."""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from funcnet.data.augment.resize import resize

__all__ = ["CenterCrop", "Pad", "RandomCrop", "RandomResizedCrop"]

_Size = int | tuple[int, int]


def _pair(size: _Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _cut(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    return image[top : top + height, left : left + width]


def _check_fits(image: np.ndarray, size: tuple[int, int]) -> None:
    if image.shape[0] < size[0] or image.shape[1] < size[1]:
        raise ValueError(
            f"the crop must fit into the image; got {size} of {image.shape[:2]}. Pad or resize first."
        )


@dataclass(frozen=True)
class Pad:
    """Pad all four sides.

    Args:
        padding: pixels, or ``(above and below, left and right)``.
        fill: the value, or ``"reflect"`` or ``"edge"``.

    Example:
        >>> data.augment.Pad(1)(np.ones((1, 1), np.uint8)).tolist()
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """

    padding: _Size
    fill: float | str = 0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Pad one image."""
        rows, columns = _pair(self.padding)
        widths = [(rows, rows), (columns, columns)] + [(0, 0)] * (image.ndim - 2)
        if self.fill == "reflect":
            return np.pad(image, widths, mode="reflect")
        if self.fill == "edge":
            return np.pad(image, widths, mode="edge")
        return np.pad(image, widths, constant_values=self.fill)


@dataclass(frozen=True)
class CenterCrop:
    """Cut out the middle.

    Args:
        size: ``(height, width)``, or one length for both.

    Example:
        >>> data.augment.CenterCrop(1)(np.arange(9).reshape(3, 3))
        array([[4]])
    """

    size: _Size

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Crop one image."""
        height, width = _pair(self.size)
        _check_fits(image, (height, width))
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return _cut(image, top, left, height, width)


@dataclass(frozen=True)
class RandomCrop:
    """Cut out a part at random, after padding.

    Args:
        size: ``(height, width)``, or one length for both.
        padding: pixels to add at each side first.
        fill: as of `Pad`.

    Example:
        >>> crop = data.augment.RandomCrop(28, padding=2)
        >>> crop(np.zeros((28, 28), np.uint8), np.random.default_rng(0)).shape
        (28, 28)
    """

    size: _Size
    padding: _Size = 0
    fill: float | str = 0

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crop one image."""
        if self.padding:
            image = Pad(self.padding, self.fill)(image)
        height, width = _pair(self.size)
        _check_fits(image, (height, width))
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        return _cut(image, top, left, height, width)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a part of random area and shape, and resize it.

    Args:
        size: ``(height, width)`` of the result, or one length for both.
        scale: the range of the part's area, as fractions of the image's.
        ratio: the range of width over height, uniform in the logarithm.

    Example:
        >>> crop = data.augment.RandomResizedCrop(8)
        >>> crop(np.zeros((20, 30, 3), np.uint8), np.random.default_rng(0)).shape
        (8, 8, 3)

    Reference:
        C. Szegedy et al., "Going deeper with convolutions", 2015.
    """

    size: _Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crop and resize one image."""
        return resize(_cut(image, *self._part(image, rng)), _pair(self.size))

    def _part(self, image: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int, int]:
        rows, columns = image.shape[:2]
        for _ in range(10):
            area = rows * columns * rng.uniform(*self.scale)
            ratio = exp(rng.uniform(log(self.ratio[0]), log(self.ratio[1])))
            width, height = round(sqrt(area * ratio)), round(sqrt(area / ratio))
            if 0 < width <= columns and 0 < height <= rows:
                top = int(rng.integers(rows - height + 1))
                return top, int(rng.integers(columns - width + 1)), height, width
        # No such part fits: the largest in the middle whose shape is allowed.
        width = min(columns, round(rows * self.ratio[1]))
        height = min(rows, round(columns / self.ratio[0]))
        return (rows - height) // 2, (columns - width) // 2, height, width
