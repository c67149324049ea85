"""Transforms made of transforms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnet.core.checks import check_probability
from funcnet.data.datasets.transform import Transform
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Compose", "On", "RandomApply"]


class _GivenRng(SampleRng):
    """A generator that is there already, in the form that `Transform` takes."""

    __slots__ = ()

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self._generator = rng


class Compose:
    """Transforms one after the other, sharing one generator.

    Args:
        *functions: ``f(sample)`` or ``f(sample, rng)``.

    Example:
        >>> double_then_add = data.augment.Compose(lambda x: 2 * x, lambda x: x + 1)
        >>> double_then_add(3, np.random.default_rng(0))
        7
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self.transforms = [Transform(function) for function in functions]

    def __call__(self, sample: Any, rng: np.random.Generator) -> Any:
        """Apply all of them."""
        sample_rng = _GivenRng(rng)
        for transform in self.transforms:
            sample = transform(sample, sample_rng)
        return sample

    def __repr__(self) -> str:
        return f"Compose({', '.join(transform.name for transform in self.transforms)})"


class On:
    """Transforms of one entry of a sample; the others stay as they are.

    Args:
        entry: a key of a dict, or a position in a tuple or list.
        *functions: ``f(value)`` or ``f(value, rng)``.

    Example:
        >>> crop = data.augment.On("image", data.augment.CenterCrop(2))
        >>> crop({"image": np.zeros((4, 4)), "label": 1}, np.random.default_rng(0))["image"].shape
        (2, 2)
    """

    def __init__(self, entry: str | int, *functions: Callable[..., Any]) -> None:
        self.entry = entry
        self.function = Compose(*functions)

    def __call__(self, sample: Any, rng: np.random.Generator) -> Any:
        """Return a new sample; the given one is not changed."""
        value = self.function(sample[self.entry], rng)
        if isinstance(sample, dict):
            return {**sample, self.entry: value}
        values = list(sample)
        values[int(self.entry)] = value
        return type(sample)(values)

    def __repr__(self) -> str:
        names = [transform.name for transform in self.function.transforms]
        return f"On({self.entry!r}, {', '.join(names)})"


class RandomApply:
    """Transforms that are applied together, with a probability.

    Args:
        *functions: ``f(sample)`` or ``f(sample, rng)``.
        p: the probability.

    Raises:
        ValueError: ``p`` is no probability.

    Example:
        >>> data.augment.RandomApply(lambda x: -x, p=1.0)(3, np.random.default_rng(0))
        -3
    """

    def __init__(self, *functions: Callable[..., Any], p: float = 0.5) -> None:
        check_probability("p", p)
        self.function = Compose(*functions)
        self.p = p

    def __call__(self, sample: Any, rng: np.random.Generator) -> Any:
        """Apply all or none."""
        return self.function(sample, rng) if rng.random() < self.p else sample

    def __repr__(self) -> str:
        return f"RandomApply({self.function!r}, p={self.p})"
