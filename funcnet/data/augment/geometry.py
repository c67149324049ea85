"""Where the pixels are: crops, flips, padding, rotation."""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from funcnet.core.checks import check_choice, check_probability
from funcnet.data.augment.resize import resize, to_dtype

__all__ = [
    "CenterCrop",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
]

Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
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

    padding: Size
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

    size: Size

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

    size: Size
    padding: Size = 0
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

    size: Size
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


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror left and right, with a probability.

    Args:
        p: the probability.

    Example:
        >>> flip = data.augment.RandomHorizontalFlip(p=1.0)
        >>> flip(np.array([[1, 2]]), np.random.default_rng(0))
        array([[2, 1]])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Flip one image, or not."""
        return image[:, ::-1] if rng.random() < self.p else image


@dataclass(frozen=True)
class RandomVerticalFlip:
    """Mirror top and bottom, with a probability.

    Args:
        p: the probability.

    Example:
        >>> flip = data.augment.RandomVerticalFlip(p=1.0)
        >>> flip(np.array([[1], [2]]), np.random.default_rng(0)).tolist()
        [[2], [1]]
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Flip one image, or not."""
        return image[::-1] if rng.random() < self.p else image


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
