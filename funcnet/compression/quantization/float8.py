"""Layers that multiply 8-bit floats, in training too."""

from collections.abc import Iterable
from typing import Any, TypeVar

from funcnet.core.aliases import Array
from funcnet.functional.quantization.float8 import float8_linear
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import replaced
from funcnet.module.rewriting.derived_layers import DerivedLayer, derived_layer
from funcnet.module.rewriting.parts import chosen_layers
from funcnet.nn.linear import Linear

__all__ = ["Float8Layer", "float8"]

ModuleT = TypeVar("ModuleT", bound=Module)


class Float8Layer(DerivedLayer):
    """What `float8` makes of a linear layer; its class is made there. It has the names and arrays that it had.

    Example:
        >>> model = fn.compression.float8(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), "0")
        >>> isinstance(model[0], fn.compression.Float8Layer), isinstance(model[0], nn.Linear)
        (True, True)
    """

    weight: Array
    bias: Array | None

    def __call__(self, input: Array) -> Array:
        """Map ``(*, in_features)`` to ``(*, out_features)``."""
        return float8_linear(input, self.weight, self.bias)

    derived_prefix = "Float8"


def float8(module: ModuleT, patterns: str | Iterable[str] = "*") -> ModuleT:
    """Have linear layers multiply 8-bit floats: forward e4m3, gradients e5m2; see `funcnet.functional.float8_linear`.

    Parameters stay what they are, under their names, so that trained weights fit and optimizers see nothing new. On
    GPUs that multiply 8-bit floats large products take half the time of 16 bits; on others, and on CPUs, the same
    numbers come, slower. To export a trained model, export the module that was given here.

    Args:
        module: a description.
        patterns: globs on the dotted paths of linear layers. First and last layers are often left out.

    Returns:
        The new description.

    Raises:
        ValueError: a pattern matches no linear layer, or a layer has a call of its own.

    Example:
        >>> model = fn.compression.float8(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), "0")
        >>> net = fn.functionalize(model)
        >>> params, state = net.init(jax.random.key(0))
        >>> params["0"]["weight"].dtype.name, net.apply(params, state, jnp.ones((2, 8)))[0].shape
        ('float32', (2, 4))

    Reference: Micikevicius et al., FP8 Formats for Deep Learning, 2022, https://arxiv.org/abs/2209.05433.
    """
    module = describe(module)
    chosen = chosen_layers(module, patterns, Linear)
    for path, layer in chosen.items():
        if type(layer).__call__ is not Linear.__call__:
            raise ValueError(
                f"{path or 'the model'} has a call of its own, {type(layer).__name__}.__call__: leave it out by "
                "patterns"
            )
    ids = {id(layer) for layer in chosen.values()}

    def change(layer: Any, copied: Any) -> Any:
        if id(layer) not in ids:
            return copied
        return derived_layer(Float8Layer, type(layer), vars(copied))

    return replaced(module, change)
