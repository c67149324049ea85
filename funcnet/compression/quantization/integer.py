"""Layers that multiply 8-bit integers: their inputs are rounded as they come, or by a scale that is known."""

from typing import Any

import jax.numpy as jnp

from funcnet.compression.quantization.quantized import QuantizedArray
from funcnet.compression.quantization.schemes import Int8
from funcnet.core.aliases import Array
from funcnet.functional.quantization.affine import (
    code_range,
    dequantize_linear,
    quantize_linear,
)
from funcnet.functional.quantization.integer_products import (
    dynamic_scale,
    integer_convolve,
    integer_linear,
    to_int8,
)
from funcnet.module import Buffer, Module
from funcnet.module.rewriting.derived_layers import DerivedLayer, derived_layer
from funcnet.nn import init
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.linear import Linear
from funcnet.transforms.derivatives.straight_through import straight_through

__all__ = ["IntegerLayer", "RoundedInput"]

PRODUCT_FORMS = ("integer", "float")


class RoundedInput(Module):
    """Round what passes through to whole numbers of few bits, and return the numbers that these stand for.

    Exported to ONNX it is QuantizeLinear and DequantizeLinear. Gradients pass as if it were the identity.

    Attributes:
        scale: the distance of neighbours, ``()``.
        zero_point: the whole number that stands for 0, int8, ``()``.

    Args:
        bits: of the whole numbers, 2 to 8.
        symmetric: whether the least of them is left out.

    Example:
        >>> net = fn.functionalize(fn.compression.RoundedInput())
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.array([0.2, 1.7]))[0].tolist()
        [0.0, 2.0]
    """

    def __init__(self, bits: int = 8, symmetric: bool = False) -> None:
        self.bits = bits
        self.symmetric = symmetric
        self.scale = Buffer((), init.ones())
        self.zero_point = Buffer((), init.zeros(), jnp.int8)

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the greatest whole number."""
        return code_range(self.bits, symmetric=self.symmetric)

    def __call__(self, input: Array) -> Array:
        """Round; same shape and dtype."""

        def rounded(x: Array) -> Array:
            codes = quantize_linear(x, self.scale, self.zero_point)
            if self.ends != code_range(8):
                codes = jnp.clip(codes, *(jnp.int8(end) for end in self.ends))
            return dequantize_linear(codes, self.scale, self.zero_point, dtype=x.dtype)

        return straight_through(rounded)(input)


class IntegerLayer(DerivedLayer):
    """What `quantize_dynamic` and `convert` make of a linear layer or convolution; its class is made by them.

    It is also a layer of the class it was before. With a weight in symmetric 8-bit integers it multiplies integers;
    with any other it computes what few bits stand for, in floats.

    Attributes:
        input_rounding: how the input is rounded; None to find a scale as it comes.
        dynamic: then a scale for each ``"row"`` of the input (each image of a convolution), or one ``"tensor"``.
        products: ``"float"`` to multiply floats always, as exporters want it.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, params, state = fn.compression.quantize_dynamic(model, params, state)
        >>> isinstance(small[0], fn.compression.IntegerLayer), small[0].dynamic
        (True, 'row')
    """

    bias: Array | None
    input_rounding: RoundedInput | None
    dynamic: str = "row"
    products: str
    derived_prefix = "Integer"

    def __call__(self, input: Array) -> Array:
        """Round the input, and multiply."""
        weight = vars(self)["weight"]
        if self.products == "float" or not of_integers(weight):
            given = self.input_rounding
            rounded = self._dynamic(input) if given is None else given(input)
            return super().__call__(rounded)
        scales = weight.scales if weight.scheme.axis is not None else weight.scales.reshape(())
        how: dict[str, Any] = {"dynamic": self.dynamic}
        if self.input_rounding is not None:
            how["input_scale"] = self.input_rounding.scale
            how["input_ends"] = self.input_rounding.ends
            if not self.input_rounding.symmetric:
                how["input_zero_point"] = self.input_rounding.zero_point
        if isinstance(self, ConvolutionBase):
            input, settings = self.padded(input)
            return integer_convolve(input, weight.values, scales, self.bias, settings, **how)
        return integer_linear(input, weight.values, scales, self.bias, **how)

    def _dynamic(self, input: Array) -> Array:
        axes = -1 - (self.axes if isinstance(self, ConvolutionBase) else 0)

        def rounded(x: Array) -> Array:
            scale = dynamic_scale(x, tuple(range(axes, 0)) if self.dynamic == "row" else None)
            return to_int8(x, scale, None).astype(scale.dtype) * scale

        return straight_through(rounded)(input)


def of_integers(weight: Any) -> bool:
    """Say whether a weight is held in integers that can be multiplied as they are."""
    scheme = weight.scheme if isinstance(weight, QuantizedArray) else None
    if not isinstance(scheme, Int8):
        return False
    return scheme.symmetric and scheme.group is None and scheme.axis in (0, None)


def has_integer_form(cls: type) -> bool:
    """Say whether a class computes as `Linear` or a convolution does, and so has a form of integers."""
    calls = (Linear.__call__, ConvolutionBase.__call__)
    return issubclass(cls, Module) and any(cls.__call__ is call for call in calls)


def in_integers(
    cls: type,
    attributes: dict[str, Any],
    rounding: RoundedInput | None,
    dynamic: str = "row",
    products: str = "integer",
) -> Any:
    """Make a layer that multiplies integers of another's class and attributes."""
    made = derived_layer(IntegerLayer, cls, attributes)
    made.input_rounding, made.products = rounding, products
    if rounding is None:
        made.dynamic = dynamic
    return made
