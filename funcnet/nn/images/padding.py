"""Layers that pad: zero, constant, reflection, replication and circular, one to three axes."""

from collections.abc import Sequence
from typing import ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.images.padding import pad
from funcnet.functional.windows import integers_per_axis
from funcnet.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class PadBase(Module):
    """What all layers of padding share; ``padding`` is one number or two an axis, the last axis first."""

    axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        self.padding = integers_per_axis("padding", padding, 2 * self.axes)

    def __call__(self, input: Array) -> Array:
        """Pad the input."""
        return pad(input, self.padding, self.mode)


class ConstantPadBase(PadBase):
    """What padding with a constant shares."""

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def __call__(self, input: Array) -> Array:
        """Pad the input with the value."""
        return pad(input, self.padding, "constant", self.value)


class ZeroPadBase(ConstantPadBase):
    """What padding with zeros shares."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)


class CircularPad1d(PadBase):
    """Extend a sequence around the circle: its end goes before its start and its start after its end.

    Input ``(..., C, L)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right)``; negative numbers crop.
            At most the axis's length.

    Example:
        >>> nn.CircularPad1d((2, 1))(jnp.ones((1, 3))).shape
        (1, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CircularPad1d.html
    """

    axes = 1
    mode = "circular"


class CircularPad2d(PadBase):
    """Extend an image around the circle: its end goes before its start and its start after its end.

    Input ``(..., C, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom)``; negative numbers crop.
            At most the axis's length.

    Example:
        >>> nn.CircularPad2d((1, 1, 1, 0))(jnp.ones((1, 2, 3))).shape
        (1, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CircularPad2d.html
    """

    axes = 2
    mode = "circular"


class CircularPad3d(PadBase):
    """Extend a volume around the circle: its end goes before its start and its start after its end.

    Input ``(..., C, D, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom, front, back)``; negative numbers crop.
            At most the axis's length.

    Example:
        >>> nn.CircularPad3d((1, 1, 1, -1, 1, 1))(jnp.ones((1, 2, 3, 3))).shape
        (1, 4, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.CircularPad3d.html
    """

    axes = 3
    mode = "circular"


class ConstantPad1d(ConstantPadBase):
    """Pad a sequence with a constant.

    Input ``(..., C, L)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right)``; negative numbers crop.
        value: the constant.

    Example:
        >>> nn.ConstantPad1d((2, 1), 3.5)(jnp.ones((1, 3))).shape
        (1, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConstantPad1d.html
    """

    axes = 1


class ConstantPad2d(ConstantPadBase):
    """Pad an image with a constant.

    Input ``(..., C, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom)``; negative numbers crop.
        value: the constant.

    Example:
        >>> nn.ConstantPad2d((1, 1, 1, 0), 3.5)(jnp.ones((1, 2, 3))).shape
        (1, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConstantPad2d.html
    """

    axes = 2


class ConstantPad3d(ConstantPadBase):
    """Pad a volume with a constant.

    Input ``(..., C, D, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom, front, back)``; negative numbers crop.
        value: the constant.

    Example:
        >>> nn.ConstantPad3d((1, 1, 1, -1, 1, 1), 3.5)(jnp.ones((1, 2, 3, 3))).shape
        (1, 4, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ConstantPad3d.html
    """

    axes = 3


class ReflectionPad1d(PadBase):
    """Extend a sequence by its mirror image, without repeating the edge.

    Input ``(..., C, L)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right)``; negative numbers crop.
            Less than the axis's length.

    Example:
        >>> nn.ReflectionPad1d((2, 1))(jnp.ones((1, 3))).shape
        (1, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReflectionPad1d.html
    """

    axes = 1
    mode = "reflect"


class ReflectionPad2d(PadBase):
    """Extend an image by its mirror image, without repeating the edge.

    Input ``(..., C, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom)``; negative numbers crop.
            Less than the axis's length.

    Example:
        >>> nn.ReflectionPad2d((1, 1, 1, 0))(jnp.ones((1, 2, 3))).shape
        (1, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReflectionPad2d.html
    """

    axes = 2
    mode = "reflect"


class ReflectionPad3d(PadBase):
    """Extend a volume by its mirror image, without repeating the edge.

    Input ``(..., C, D, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom, front, back)``; negative numbers crop.
            Less than the axis's length.

    Example:
        >>> nn.ReflectionPad3d((1, 1, 1, -1, 1, 1))(jnp.ones((1, 2, 3, 3))).shape
        (1, 4, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReflectionPad3d.html
    """

    axes = 3
    mode = "reflect"


class ReplicationPad1d(PadBase):
    """Extend a sequence by repeating the elements at its edges.

    Input ``(..., C, L)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right)``; negative numbers crop.

    Example:
        >>> nn.ReplicationPad1d((2, 1))(jnp.ones((1, 3))).shape
        (1, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReplicationPad1d.html
    """

    axes = 1
    mode = "replicate"


class ReplicationPad2d(PadBase):
    """Extend an image by repeating the elements at its edges.

    Input ``(..., C, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom)``; negative numbers crop.

    Example:
        >>> nn.ReplicationPad2d((1, 1, 1, 0))(jnp.ones((1, 2, 3))).shape
        (1, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReplicationPad2d.html
    """

    axes = 2
    mode = "replicate"


class ReplicationPad3d(PadBase):
    """Extend a volume by repeating the elements at its edges.

    Input ``(..., C, D, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom, front, back)``; negative numbers crop.

    Example:
        >>> nn.ReplicationPad3d((1, 1, 1, -1, 1, 1))(jnp.ones((1, 2, 3, 3))).shape
        (1, 4, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ReplicationPad3d.html
    """

    axes = 3
    mode = "replicate"


class ZeroPad1d(ZeroPadBase):
    """Pad a sequence with zeros.

    Input ``(..., C, L)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right)``; negative numbers crop.

    Example:
        >>> nn.ZeroPad1d((2, 1))(jnp.ones((1, 3))).shape
        (1, 6)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ZeroPad1d.html
    """

    axes = 1


class ZeroPad2d(ZeroPadBase):
    """Pad an image with zeros.

    Input ``(..., C, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom)``; negative numbers crop.

    Example:
        >>> nn.ZeroPad2d((1, 1, 1, 0))(jnp.ones((1, 2, 3))).shape
        (1, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ZeroPad2d.html
    """

    axes = 2


class ZeroPad3d(ZeroPadBase):
    """Pad a volume with zeros.

    Input ``(..., C, D, H, W)``, output with ``before + length + after`` elements along each spatial axis.

    Args:
        padding: one number for every side, or ``(left, right, top, bottom, front, back)``; negative numbers crop.

    Example:
        >>> nn.ZeroPad3d((1, 1, 1, -1, 1, 1))(jnp.ones((1, 2, 3, 3))).shape
        (1, 4, 3, 5)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.ZeroPad3d.html
    """

    axes = 3
