"""Dynamic quantization: weights in 8 bits, and inputs rounded to 8 bits as they come."""

from collections.abc import Iterable
from typing import Any, TypeVar

from funcnet.compression.quantization.integer import IntegerLayer, has_integer_form, in_integers
from funcnet.compression.quantization.quantize import check_shared, quantize
from funcnet.compression.quantization.quantized import Quantized
from funcnet.compression.quantization.schemes import Scheme
from funcnet.core.aliases import Params, State
from funcnet.core.checks import check_choice
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import replaced
from funcnet.module.rewriting.parts import chosen_layers
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.linear import Linear
from funcnet.nn.wrappers.lora import LoRA

__all__ = ["quantize_dynamic"]

ModuleT = TypeVar("ModuleT", bound=Module)


def quantize_dynamic(
    module: ModuleT,
    params: Params,
    state: State,
    patterns: str | Iterable[str] = "*",
    *,
    scheme: Scheme | None = None,
    dynamic: str = "row",
) -> tuple[ModuleT, Params, State]:
    """Return a model whose linear layers and convolutions multiply 8-bit integers.

    Weights are written as `quantize` writes them. The scale of an input is found when it comes, from its largest
    number, so that no calibration is needed. Biases, and all that lies between the layers, stay floats.

    Args:
        module: a description.
        params: its parameters.
        state: its buffers.
        patterns: globs on the dotted paths of linear layers and convolutions.
        scheme: of the weights, by default ``Int8()``. With another that is not symmetric, or has groups, inputs are
            rounded alike and products are of floats.
        dynamic: a scale for each ``"row"`` of an input (of a convolution: each image), or one for the whole
            ``"tensor"``, as PyTorch has it.

    Returns:
        The new description, params and state.

    Raises:
        ValueError: a pattern matches no such layer, or `quantize` refuses one.
        ParameterTreeError: the trees are not those of the module.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small = fn.compression.quantize_dynamic(model, params, state)
        >>> before = fn.functionalize(model).apply(params, state, jnp.ones((3, 64)))[0]
        >>> after = fn.functionalize(small[0]).apply(*small[1:], jnp.ones((3, 64)))[0]
        >>> bool(jnp.abs(after - before).max() < 0.02)
        True

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.ao.quantization.quantize_dynamic.html
    """
    check_choice("dynamic", dynamic, ("row", "tensor"))
    module = describe(module)
    kinds = (Linear, ConvolutionBase)
    chosen = chosen_layers(module, patterns, kinds)
    ids: set[int] = set()
    for path, layer in chosen.items():
        if isinstance(layer, (IntegerLayer, Quantized)):
            raise ValueError(
                f"{path or 'the model'} is quantized already: dequantize it first, or choose other layers by patterns"
            )
        if isinstance(layer, LoRA):
            raise ValueError(
                f"{path or 'the model'} is adapted by nn.lora: merge_lora first, or choose other layers by patterns"
            )
        if not has_integer_form(type(layer)):
            raise ValueError(
                f"{path or 'the model'} has a call of its own, {type(layer).__name__}.__call__, whose products are not "
                "known: leave it out by patterns, or use compression.quantize"
            )
        ids.add(id(layer))
    weights = {id(vars(layer)["weight"]) for layer in chosen.values() if "weight" in vars(layer)}
    check_shared(module, weights, ids, kinds)

    def change(layer: Any, copied: Any) -> Any:
        if id(layer) not in ids:
            return copied
        return in_integers(type(layer), vars(copied), None, dynamic)

    paths = tuple(chosen)
    made = replaced(module, change)
    return quantize(made, params, state, scheme, paths, arrays="weight")
