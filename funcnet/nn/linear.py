"""Layers that are affine or bilinear in their input, and those that only reshape it."""

import math
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_positive
from funcnet.functional.linear import bilinear, linear
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["Bilinear", "Flatten", "Identity", "LazyLinear", "Linear", "Unflatten"]


class Identity(Module):
    """Return the input; any constructor arguments are ignored.

    >>> nn.Identity(54, unused=True)(jnp.ones(3)).shape
    (3,)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Identity.html
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, input: Array) -> Array:
        """Return the input."""
        return input


class Linear(Module):
    r"""Apply an affine map to the last axis: ``y = x Wᵀ + b``.

    Input ``(*, in_features)``, output ``(*, out_features)``.

    Args:
        in_features: length of the input's last axis.
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_features, in_features)``, from ``U(-1/√in_features, 1/√in_features)``.
        bias: ``(out_features,)``, likewise; or ``None``.

    >>> net = fn.functionalize(nn.Linear(3, 2))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((5, 3)))[0].shape
    (5, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: DType = jnp.float32
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(
            (out_features, in_features), init.kaiming_uniform(a=math.sqrt(5)), dtype
        )
        self.bias = (
            Parameter((out_features,), init.uniform_fan_in(in_features), dtype) if bias else None
        )

    def __call__(self, input: Array) -> Array:
        """Map ``(*, in_features)`` to ``(*, out_features)``."""
        return linear(input, self.weight, self.bias)


class Bilinear(Module):
    r"""Apply a bilinear form for each output: ``y_o = x₁ᵀ A_o x₂ + b_o``.

    Inputs ``(*, in1_features)`` and ``(*, in2_features)``, output ``(*, out_features)``.

    Args:
        in1_features: length of the first input's last axis.
        in2_features: length of the second input's last axis.
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_features, in1_features, in2_features)``, from ``U(-1/√in1, 1/√in1)``.
        bias: ``(out_features,)``, likewise; or ``None``.

    Raises:
        ValueError: ``in1_features`` is not above zero.

    >>> net = fn.functionalize(nn.Bilinear(2, 3, 4))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((5, 2)), jnp.ones((5, 3)))[0].shape
    (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Bilinear.html
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        check_positive("in1_features", in1_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        start = init.uniform_fan_in(in1_features)
        self.weight = Parameter((out_features, in1_features, in2_features), start, dtype)
        self.bias = Parameter((out_features,), start, dtype) if bias else None

    def __call__(self, input1: Array, input2: Array) -> Array:
        """Map ``(*, in1_features)`` and ``(*, in2_features)`` to ``(*, out_features)``."""
        return bilinear(input1, input2, self.weight, self.bias)


class LazyLinear(Linear):
    """`Linear` whose ``in_features`` are learned from the first example input.

    Args:
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    >>> net = fn.functionalize(nn.LazyLinear(2))
    >>> params, state = net.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> params["weight"].shape
    (2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyLinear.html
    """

    def __init__(self, out_features: int, bias: bool = True, *, dtype: DType = jnp.float32) -> None:
        self.out_features = out_features
        self.weight = Parameter((out_features, None), init.kaiming_uniform(a=math.sqrt(5)), dtype)
        self.bias = Parameter((out_features,), init.zeros(), dtype) if bias else None

    def infer_shapes(self, input: Array) -> dict[str, Any]:
        """Give the weight's shape for an input, and the bias with the range that follows from it."""
        features = input.shape[-1]
        bias = Parameter((self.out_features,), init.uniform_fan_in(features))
        return {"weight": (self.out_features, features), "bias": bias}


class Flatten(Module):
    """Merge a range of axes into one.

    Args:
        start_dim: the first axis to merge.
        end_dim: the last one.

    >>> nn.Flatten()(jnp.ones((2, 3, 4))).shape
    (2, 12)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Flatten.html
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def __call__(self, input: Array) -> Array:
        """Merge the axes ``start_dim`` to ``end_dim``.

        Raises:
            ValueError: the input lacks one of the axes, or they come in the wrong order.
        """
        axes = max(input.ndim, 1)
        start = _axis("start_dim", self.start_dim, axes)
        end = _axis("end_dim", self.end_dim, axes)
        if start > end:
            raise ValueError(
                f"start_dim must not come after end_dim; got {self.start_dim} and {self.end_dim} "
                f"for an input of shape {input.shape}"
            )
        shape = input.shape or (1,)
        return input.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


class Unflatten(Module):
    """Split one axis into several.

    Args:
        dim: the axis to split.
        unflattened_size: the lengths to split it into; one may be -1.

    Raises:
        TypeError: the lengths are not integers.

    >>> nn.Unflatten(1, (2, -1))(jnp.ones((5, 6))).shape
    (5, 2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Unflatten.html
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        if not isinstance(unflattened_size, tuple | list):
            raise TypeError(
                f"unflattened_size must be a tuple of integers; got {unflattened_size!r}"
            )
        for size in unflattened_size:
            if not isinstance(size, int):
                raise TypeError(f"unflattened_size must hold integers; got {size!r}")
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def __call__(self, input: Array) -> Array:
        """Split the axis ``dim``.

        Raises:
            ValueError: the lengths do not multiply to that of the axis.
        """
        dim, sizes = _axis("dim", self.dim, input.ndim), self.unflattened_size
        length, known = input.shape[dim], math.prod(size for size in sizes if size != -1)
        free = sizes.count(-1)
        fits = length == known if free == 0 else free == 1 and known > 0 and length % known == 0
        if not fits or min(sizes, default=-2) < -1:
            raise ValueError(
                f"unflattened_size {sizes} does not fit the length {length} of axis {self.dim}"
            )
        sizes = tuple(length // known if size == -1 else size for size in sizes)
        return input.reshape(*input.shape[:dim], *sizes, *input.shape[dim + 1 :])


def _axis(name: str, dim: int, axes: int) -> int:
    if not -axes <= dim < axes:
        raise ValueError(f"{name} must lie in [{-axes}, {axes - 1}]; got {dim}")
    return dim % axes
