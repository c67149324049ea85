"""What initial distributions are scaled by: the gain of a nonlinearity, the fans of a weight."""

import math

from funcnet.core.aliases import Shape
from funcnet.core.checks import check_choice

__all__ = ["calculate_fan_in_and_fan_out", "calculate_gain"]

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""Return the factor that keeps the variance of activations through a nonlinearity.

    1 for linear and convolution layers and sigmoid, 5/3 for tanh, ``√2`` for relu, 3/4 for selu and
    ``√(2 / (1 + slope²))`` for leaky_relu.

    Args:
        nonlinearity: the function's name in `funcnet.functional`.
        param: the negative slope of ``leaky_relu`` (0.01 if none is given).

    Raises:
        ValueError: an unknown name, or a slope that is no number.

    >>> nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"the negative slope must be a number; got {slope!r}")
        return math.sqrt(2.0 / (1.0 + slope**2))
    check_choice("nonlinearity", nonlinearity, (*_GAINS, "leaky_relu"))
    return _GAINS[nonlinearity]


def calculate_fan_in_and_fan_out(shape: Shape) -> tuple[int, int]:
    """Count the inputs and outputs that meet in one element of a weight ``(out, in, *window)``.

    Raises:
        ValueError: the shape has fewer than two axes.

    >>> nn.init.calculate_fan_in_and_fan_out((8, 4, 3, 3))
    (36, 72)
    """
    if len(shape) < 2:
        raise ValueError(f"fans need a weight of at least two axes; got shape {tuple(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window
