"""A weight's length and direction learned apart."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.dtypes import at_least_float32
from funcnet.module import Module, Parameter
from funcnet.nn.init.derived import FromDraw, drawn_with
from funcnet.nn.wrappers.register_parametrization import add_parametrization, take_parameter

__all__ = ["weight_norm"]

ModuleT = TypeVar("ModuleT", bound=Module)


def weight_norm(module: ModuleT, name: str = "weight", dim: int | None = 0) -> ModuleT:
    """Learn a weight's length and direction apart: ``weight = g * v / ‖v‖``.

    Args:
        module: the layer; it is changed and returned.
        name: the name of the parameter.
        dim: each slice along this axis has a length of its own; ``None`` for one length in all.

    Returns:
        The layer, with the parameters ``parametrizations.weight.original0`` (``g``) and
        ``original1`` (``v``); ``g`` starts as the length of ``v``.

    Raises:
        ValueError: the layer has no parameter of that name.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(20, 40))
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> {name: value.shape for name, value in params["parametrizations"]["weight"].items()}
        {'original0': (40, 1), 'original1': (40, 20)}

    Reference: Salimans and Kingma, Weight Normalization, 2016, https://arxiv.org/abs/1602.07868;
    ``torch.nn.utils.parametrizations.weight_norm``.
    """
    direction = take_parameter(module, name)
    dim = -1 if dim is None else dim
    abstract = jax.ShapeDtypeStruct(direction.shape, direction.dtype)
    shape = jax.eval_shape(lambda v: _length(v, dim), abstract).shape
    start = FromDraw(_length_of_draw, (dim,), direction.init, direction.shape)
    length = drawn_with(direction, Parameter(shape, start, direction.dtype))
    return add_parametrization(
        module, {"original0": length, "original1": direction}, name, WeightNorm(dim)
    )


class WeightNorm(Module):
    """``g * v / ‖v‖``, the norm over all axes but one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, length: Array, direction: Array) -> Array:
        """Give the direction its length."""
        wide = direction.astype(
            at_least_float32(direction.dtype)
        )  # lengths are sums, and so are gradients
        return (wide * (length.astype(wide.dtype) / _length(wide, self.dim))).astype(
            direction.dtype
        )


def _length(direction: Array, dim: int) -> Array:
    """Return the norm over all axes but one, or over all for -1, as PyTorch has it."""
    axes = tuple(axis for axis in range(direction.ndim) if axis != dim % direction.ndim)
    squares = jnp.square(direction)
    return jnp.sqrt(squares.sum() if dim == -1 else squares.sum(axes, keepdims=True))


def _length_of_draw(key: Key, drawn: Array, dim: int) -> Array:
    del key
    return _length(drawn.astype(at_least_float32(drawn.dtype)), dim).astype(drawn.dtype)
