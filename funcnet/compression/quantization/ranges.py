"""The range of the numbers that a layer is given, and rounding by it."""

from dataclasses import dataclass

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_probability
from funcnet.functional.quantization.affine import code_range, scale_and_zero_point
from funcnet.functional.quantization.fake import fake_quantize_per_tensor_affine
from funcnet.module import Buffer, Module
from funcnet.nn import init

__all__ = ["Activations", "InputRange"]


@dataclass(frozen=True)
class Activations:
    """How what a layer is given is written in few bits: one scale for all of it.

    Args:
        bits: of the whole numbers, 2 to 8.
        symmetric: whether the range reaches as far below 0 as above. What comes out of a ReLU does not.
        momentum: how much of a batch's range is taken into the moving average of training.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> fn.compression.Activations(bits=4)
        Activations(bits=4, symmetric=False, momentum=0.01)

    Reference: ``torch.ao.quantization.MovingAverageMinMaxObserver``.
    """

    bits: int = 8
    symmetric: bool = False
    momentum: float = 0.01

    def __post_init__(self) -> None:
        check_choice("bits", self.bits, range(2, 9))
        check_probability("momentum", self.momentum)


class InputRange(Module):
    """Round what passes through to the numbers that a range of few bits holds; learn the range in training.

    In training the ends of the range follow those of the batches: the first batch sets them, each later one moves them
    by ``momentum``. `calibrate` sets them at once. Until they are known, everything passes as it is. Gradients are
    those of `funcnet.functional.fake_quantize_per_tensor_affine`.

    Attributes:
        low: the least number, ``()``; infinite until it is known.
        high: the largest, likewise.

    Args:
        how: bits, symmetry and momentum.

    Example:
        >>> net = fn.functionalize(fn.compression.InputRange(fn.compression.Activations(bits=2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.array([0.0, 0.9, 3.0]), train=True)
        >>> output.tolist(), float(state["high"])
        ([0.0, 1.0, 3.0], 3.0)

    Reference: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference, 2017, https://arxiv.org/abs/1712.05877.
    """

    def __init__(self, how: Activations) -> None:
        self.how = how
        self.low = Buffer((), init.constant(jnp.inf))
        self.high = Buffer((), init.constant(-jnp.inf))

    def __call__(self, input: Array) -> Array:
        """Round, after learning in training; same shape and dtype."""
        if self.training:
            self.low, self.high = moved(self.low, self.high, ends(input), self.how.momentum)
        scale, zero_point = parameters_of(self.how, self.low, self.high)
        least, largest = code_range(self.how.bits, symmetric=self.how.symmetric)
        rounded = fake_quantize_per_tensor_affine(input, scale, zero_point, least, largest)
        return jnp.where(self.low <= self.high, rounded, input)


def ends(input: Array) -> tuple[Array, Array]:
    """Return the least and the largest number of an array, in float32; of an empty one, no range at all.

    Example:
        >>> from funcnet.compression.quantization.ranges import ends
        >>> [float(end) for end in ends(jnp.array([2.0, -1.0]))]
        [-1.0, 2.0]
    """
    low = jnp.min(input, initial=jnp.inf).astype(jnp.float32)
    return low, jnp.max(input, initial=-jnp.inf).astype(jnp.float32)


def moved(
    low: Array, high: Array, new: tuple[Array, Array], momentum: float
) -> tuple[Array, Array]:
    """Move the ends of a range towards those of a batch; set them if there is no range yet.

    Example:
        >>> from funcnet.compression.quantization.ranges import moved
        >>> low, high = moved(jnp.array(0.0), jnp.array(1.0), (jnp.array(-1.0), jnp.array(3.0)), 0.5)
        >>> float(low), float(high)
        (-0.5, 2.0)
    """
    known, seen = low <= high, new[0] <= new[1]
    towards = (old + momentum * (end - old) for old, end in zip((low, high), new, strict=True))
    averaged = [jnp.where(known, end, first) for end, first in zip(towards, new, strict=True)]
    made = [jnp.where(seen, end, old) for end, old in zip(averaged, (low, high), strict=True)]
    return made[0], made[1]


def parameters_of(how: Activations, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the scale and zero point of a range; those of an unknown one are 1 and 0."""
    return scale_and_zero_point(low, high, bits=how.bits, symmetric=how.symmetric)
