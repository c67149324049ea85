"""Mirror images at random."""

from dataclasses import dataclass

import numpy as np

from funcnet.core.checks import check_probability

__all__ = ["RandomHorizontalFlip", "RandomVerticalFlip"]


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
