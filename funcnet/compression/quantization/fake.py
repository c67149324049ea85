"""Training for few bits: layers read their weights, and what they are given, as few bits would hold them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from funcnet.compression.quantization.ranges import Activations, InputRange
from funcnet.compression.quantization.schemes import Int8, Scheme
from funcnet.core.aliases import Array, Params, State
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of, replaced
from funcnet.module.layout import placed
from funcnet.module.rewriting.derived_layers import DerivedLayer, derived_layer
from funcnet.module.rewriting.parts import chosen_layers, trees_of
from funcnet.module.specs import is_spec
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.embedding import Embedding
from funcnet.nn.linear import Linear
from funcnet.nn.wrappers.lora import LoRA
from funcnet.transforms.derivatives.straight_through import straight_through

__all__ = ["FakeQuantized", "fake_quantize"]

ModuleT = TypeVar("ModuleT", bound=Module)

QUANTIZABLE = (Linear, ConvolutionBase, ConvTransposeBase, Embedding)


class RoundedWeight:
    """The attribute ``weight`` of a layer that trains for few bits: what they would hold of its parameter."""

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        weight, scheme = vars(layer)["weight"], layer.weight_scheme
        if is_spec(weight) or scheme is None:
            return weight
        return through(scheme, weight)

    def __set__(self, layer: Any, weight: Any) -> None:
        vars(layer)["weight"] = weight


class FakeQuantized(DerivedLayer):
    """What `fake_quantize` makes of a layer: it computes in floats what few bits would compute.

    It is also a layer of the class it was before, with its attributes and parameter names. Its class is made by
    `fake_quantize`; this base is for ``isinstance``.

    Attributes:
        weight_scheme: how the weight is read; None as it is.
        input_range: rounds what the layer is given; None for layers that are given it as it is.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> trained, params, state = fn.compression.fake_quantize(model, params, state)
        >>> [isinstance(layer, fn.compression.FakeQuantized) for layer in trained]
        [True, False, True]
        >>> isinstance(trained[0], nn.Linear)
        True
    """

    weight: Array
    weight_scheme: Scheme | None
    input_range: InputRange | None

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Round the input, and call the layer."""
        if self.input_range is not None:
            input = self.input_range(input)
        return super().__call__(input, *args, **kwargs)

    derived_prefix = "FakeQuantized"

    @classmethod
    def derived_members(cls, *names: str) -> dict[str, Any]:
        """Return the descriptors of the attributes that are computed."""
        return {"weight": RoundedWeight()}


def fake_quantize(
    module: ModuleT,
    params: Params,
    state: State,
    weights: Scheme | None = Int8(),  # noqa: B008 (frozen)
    activations: Activations | None = Activations(),  # noqa: B008
    patterns: str | Iterable[str] = "*",
) -> tuple[ModuleT, Params, State]:
    """Have layers compute with rounded weights and inputs, for training that gets used to it.

    Parameters keep their names, floats and values; weights are rounded as they are read, and gradients pass to them as
    if they were not (straight through). Beside each layer stand the ends of its input's range, buffers
    ``input_range.low`` and ``input_range.high``, which training moves and `calibrate` sets. After training, `convert`
    makes a model of integers of it.

        model, params, state = compression.fake_quantize(model, params, state)
        net = fn.functionalize(model)                              # train it as any model, at a tenth of the rate
        model, params, state = compression.convert(model, params, state)

    Batch norms after convolutions are best folded into them first, as they will be in inference.

    Args:
        module: a description.
        params: its parameters.
        state: its buffers.
        weights: how weights are written in the end: `Int8`, `Int4`, `NF4`; None to leave them.
        activations: how inputs are; None to leave them. Embeddings are given whole numbers anyway.
        patterns: globs on the dotted paths of modules: linear layers, convolutions, transposed ones, embeddings.

    Returns:
        ``(module, params, state)``.

    Raises:
        ValueError: a pattern matches no such layer, or a layer is quantized already.
        ParameterTreeError: the trees are not those of the module.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, params, state = fn.compression.fake_quantize(model, params, state)
        >>> list(params["0"]), list(state["0"]["input_range"])
        (['weight', 'bias'], ['low', 'high'])

    Reference: Jacob et al., 2017, https://arxiv.org/abs/1712.05877; ``torch.ao.quantization.prepare_qat``.
    """
    _check_settings(weights, activations)
    module = describe(module)
    chosen = chosen_layers(module, patterns, QUANTIZABLE)
    paths = {id(layer): path for path, layer in chosen.items()}
    layout = layout_of(module)
    attending = [m for m in layout.modules.values() if isinstance(m, MultiheadAttention)]
    read = {id(vars(m)["out_proj"]) for m in attending}  # of these only the weight is read

    def wrapped(layer: Module, copied: Module) -> Module:
        path = paths.get(id(layer))
        if path is None:
            return copied
        return _faked(copied, path, weights, None if id(layer) in read else activations)

    made = replaced(module, wrapped)
    leaves = placed(layout, params, "params") | placed(layout, state, "state")
    return (made, *trees_of(made, with_starts(made, leaves)))


def with_starts(module: Module, leaves: dict[int, Array]) -> dict[str, Array]:
    """Return all arrays of a model by path: those known by the ids of their specs, others as they start."""
    layout = layout_of(module)
    arrays: dict[str, Array] = {}
    for path, spec in layout.specs.items():
        array = leaves.get(id(spec))
        if array is None:
            # what is new here starts as a constant, which needs no key
            start = spec.init(jax.random.key(0), spec.sizes, spec.dtype)
            array = jnp.broadcast_to(start, (*layout.sizes[path], *spec.sizes))
        arrays[path] = array
    return arrays


def through(scheme: Scheme, weight: Array) -> Array:
    """Return what a scheme would hold of an array; the gradient is that of the identity.

    Example:
        >>> from funcnet.compression.quantization.fake import through
        >>> through(fn.compression.Int8(), jnp.array([[127.0, 1.4]])).tolist()
        [[127.0, 1.0]]
    """

    def written(array: Array) -> Array:
        return scheme.decode(scheme.encode(array), array.shape, array.dtype)

    return straight_through(written)(weight)


def _check_settings(weights: Any, activations: Any) -> None:
    if not (weights is None or isinstance(weights, Scheme)):
        raise TypeError(
            f"weights must be Int8(), Int4(), NF4(), another Scheme or None; got {weights!r}"
        )
    if not (activations is None or isinstance(activations, Activations)):
        raise TypeError(f"activations must be Activations(bits=8), or None; got {activations!r}")


def _faked(
    layer: Module, path: str, weights: Scheme | None, activations: Activations | None
) -> Any:
    if isinstance(layer, FakeQuantized):
        raise ValueError(f"{path} trains for few bits already: choose other layers by patterns")
    if isinstance(layer, LoRA):
        raise ValueError(
            f"{path} is adapted by nn.lora: merge_lora first, or choose other layers by patterns"
        )
    if not is_spec(vars(layer).get("weight")):
        raise ValueError(
            f"{path} is quantized already, or its weight is computed from other parameters: dequantize or merge it "
            "first, or choose other layers by patterns"
        )
    made = derived_layer(FakeQuantized, type(layer), vars(layer))
    made.weight_scheme = weights
    rows: Any = weights
    if isinstance(layer, ConvTransposeBase) and getattr(rows, "axis", None) == 0:
        made.weight_scheme = replace(rows, axis=1)  # its output channels are there
    given = None if activations is None or isinstance(layer, Embedding) else InputRange(activations)
    made.input_range = given
    return made
