"""Overwrite random parts of images."""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from funcnet.core.checks import check_probability

__all__ = ["RandomErasing"]


@dataclass(frozen=True)
class RandomErasing:
    """Overwrite a random rectangle, with a probability.

    Args:
        p: the probability.
        scale: the range of the rectangle's area, as fractions of the image's.
        ratio: the range of its height over its width, uniform in the logarithm.
        value: what to write, or ``"random"`` for noise: uniform over an integer dtype's range,
            normal otherwise.
        channels_first: whether the image is ``(C, H, W)``, otherwise ``(H, W)`` or ``(H, W, C)``.

    Raises:
        ValueError: ``p`` is no probability.

    Example:
        >>> erase = data.augment.RandomErasing(p=1.0)
        >>> bool((erase(np.ones((9, 9)), np.random.default_rng(0)) == 0).any())
        True

    Reference:
        Z. Zhong et al., "Random erasing data augmentation", 2020.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | str = 0
    channels_first: bool = False

    def __post_init__(self) -> None:
        check_probability("p", self.p)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Erase a part of a copy of one image, or return it."""
        if rng.random() >= self.p:
            return image
        rows, columns = image.shape[1:] if self.channels_first else image.shape[:2]
        for _ in range(10):
            area = rows * columns * rng.uniform(*self.scale)
            ratio = exp(rng.uniform(log(self.ratio[0]), log(self.ratio[1])))
            height, width = round(sqrt(area * ratio)), round(sqrt(area / ratio))
            if 0 < height < rows and 0 < width < columns:
                top = int(rng.integers(rows - height + 1))
                left = int(rng.integers(columns - width + 1))
                part = (slice(top, top + height), slice(left, left + width))
                return self._erase(image.copy(), part, rng)
        return image

    def _erase(
        self, image: np.ndarray, part: tuple[slice, slice], rng: np.random.Generator
    ) -> np.ndarray:
        target = image[(slice(None), *part)] if self.channels_first else image[part]
        if self.value != "random":
            target[...] = self.value
        elif image.dtype.kind in "iu":
            limits = np.iinfo(image.dtype)
            target[...] = rng.integers(limits.min, limits.max, target.shape, image.dtype, True)
        else:
            target[...] = rng.normal(size=target.shape)
        return image
