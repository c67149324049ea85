"""Activations with hard corners, as layers: clips, and approximations by straight lines."""

from funcnet.functional.activations.hard import hardsigmoid, hardswish, hardtanh
from funcnet.nn.activations.base import ActivationLayer

__all__ = ["Hardsigmoid", "Hardswish", "Hardtanh"]


class Hardtanh(ActivationLayer, function=hardtanh):
    """Clip each element to an interval: ``min(max(x, min_val), max_val)``.

    Args:
        min_val: lower end of the linear region.
        max_val: upper end of the linear region.

    Raises:
        ValueError: the lower end is not below the upper one.

    Example:
        >>> nn.Hardtanh(-2.0, 2.0)(jnp.array([-3.0, 1.0])).tolist()
        [-2.0, 1.0]

    Reference: `funcnet.functional.hardtanh`, ``torch.nn.Hardtanh``.
    """

    min_val: float = -1.0
    max_val: float = 1.0

    def __post_init__(self) -> None:
        """Check the interval."""
        if self.max_val <= self.min_val:
            raise ValueError(f"max_val must exceed min_val; got {self.max_val} and {self.min_val}")


class Hardsigmoid(ActivationLayer, function=hardsigmoid):
    """Approximate the sigmoid by straight lines: ``clip(x / 6 + 1/2, 0, 1)``.

    Example:
        >>> nn.Hardsigmoid()(jnp.array([-4.0, 0.0])).tolist()
        [0.0, 0.5]

    Reference: `funcnet.functional.hardsigmoid`, ``torch.nn.Hardsigmoid``.
    """


class Hardswish(ActivationLayer, function=hardswish):
    """Approximate SiLU by pieces: ``x * hardsigmoid(x)``.

    Example:
        >>> nn.Hardswish()(jnp.array([0.0, 4.0])).tolist()
        [0.0, 4.0]

    Reference: `funcnet.functional.hardswish`, ``torch.nn.Hardswish``.
    """
