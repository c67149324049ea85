"""Low-rank adaptation: a small trained addition to the frozen weights of an existing model."""

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType, Params
from funcnet.core.checks import check_positive, check_probability
from funcnet.core.paths import nest, select
from funcnet.functional.dropout import dropout as drop
from funcnet.module import Module, Parameter
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of, replaced
from funcnet.module.layout import placed
from funcnet.module.rewriting.computed_array import ArrayReader, ComputedArray, array_behind
from funcnet.module.rewriting.derived_layers import DerivedLayer, class_before, derived_layer
from funcnet.module.specs import is_spec
from funcnet.nn import init
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.linear import Linear

__all__ = ["LoRA", "lora", "merge_lora"]

ModuleT = TypeVar("ModuleT", bound=Module)

ADAPTABLE = (Linear, ConvolutionBase, ConvTransposeBase)


class EffectiveWeight:
    """The attribute ``weight`` of an adapted layer: what its weight would be after merging.

    Whoever reads the weight of a layer rather than calling it, as attention does with its output
    projection, so gets the adapted one too.
    """

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        weight = array_behind(layer, "weight")
        if is_spec(weight) or isinstance(weight, ComputedArray):
            return weight
        return folded(weight, layer.lora_A, layer.lora_B, layer.scale)

    def __set__(self, layer: Any, weight: Any) -> None:
        vars(layer)["weight"] = weight


class LoRA(DerivedLayer):
    """What `lora` makes of a layer: ``W + alpha / rank * B A`` in place of its weight ``W``.

    It is also a layer of the class it was before, with its attributes and parameter names. Its class
    is made by `lora`; this base is for ``isinstance``.

    Attributes:
        lora_A: ``(rank, *weight.shape[1:])``, drawn as the weight of `Linear` is.
        lora_B: ``(weight.shape[0], rank)``, zeros.
        rank: of the addition.
        scale: ``alpha / rank``.
        lora_dropout: probability of an input of the addition to be zeroed in training.

    Example:
        >>> adapted = nn.lora(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), "0", rank=2)
        >>> isinstance(adapted[0], nn.LoRA), isinstance(adapted[0], nn.Linear), adapted[0].rank
        (True, True, 2)
    """

    weight: Array
    bias: Array | None
    lora_A: Array  # noqa: N815 (the names of the paper's own code)
    lora_B: Array  # noqa: N815
    rank: int
    scale: float
    lora_dropout: float

    def __call__(self, input: Array, *args: Any, **kwargs: Any) -> Array:
        """Call the layer; add ``B A x`` without ever forming ``B A`` where that is possible."""
        if not factors(self):
            return super().__call__(input, *args, **kwargs)
        output = plain(self, weight=vars(self)["weight"])(input, *args, **kwargs)
        narrow = input
        if self.lora_dropout > 0 and self.training:
            narrow = drop(input, self.lora_dropout, key=self.next_key())
        narrow = narrow.astype(self.lora_A.dtype)
        narrow = plain(self, weight=self.lora_A, bias=None)(narrow, *args, **kwargs) * self.scale
        axis = channel_axis(self, narrow.ndim)
        wide = jnp.tensordot(narrow, self.lora_B, ((axis,), (1,)))
        return output + jnp.moveaxis(wide, -1, axis).astype(output.dtype)

    derived_prefix = "LoRA"

    @classmethod
    def derived_members(cls, *names: str) -> dict[str, Any]:
        """Return the descriptors of the attributes that are computed."""
        return {"weight": EffectiveWeight()}


def lora(
    model: ModuleT,
    patterns: str | Iterable[str],
    rank: int = 8,
    alpha: float = 16.0,
    *,
    dropout: float = 0.0,
    dtype: DType | None = None,
) -> ModuleT:
    """Return a description whose linear layers and convolutions of some paths are adapted.

    ``y = W x + b`` becomes ``y = (W + alpha / rank * B A) x + b``. The model given is not touched. The
    parameters of the new one are those of the old under the same paths and names, and for each adapted
    layer ``lora_A`` and ``lora_B`` beside its ``weight``. ``B`` starts at zero, so that at first the
    adapted model computes what the model did. The weight may be in few bits (`compression.quantize`): it
    stays as it is, and the addition alone is trained.

    Pretrained weights are put in by name, and only the addition is trained, by pattern:

        adapted = nn.lora(model, "*.attention.*", rank=8)
        net = fn.functionalize(adapted)
        fresh = fn.state_dict(adapted, *net.init(key))
        params, state = fn.load_state_dict(adapted, fresh | pretrained)
        trained, frozen = transforms.partition(params, "*lora_*")       # or:
        optimizer = optim.groups({"*lora_*": optim.adamw(1e-3), "*": None})

    Args:
        model: a description.
        patterns: globs on the dotted paths of modules. Of those that match, `Linear`, convolutions and
            transposed convolutions, and layers that derive from them, are adapted.
        rank: of the addition to each weight, seen as a matrix ``(weight.shape[0], the rest)``.
        alpha: the addition is scaled by ``alpha / rank``.
        dropout: probability of an input of the addition to be zeroed in training; for linear layers and
            convolutions without groups.
        dtype: of ``A`` and ``B``; by default each weight's own.

    Returns:
        The adapted description, of the model's own class.

    Raises:
        ValueError: a pattern matches no such layer, a layer is already adapted or waits for its shape,
            or a number is out of range.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> adapted = nn.lora(model, "0", rank=2)
        >>> params, state = fn.functionalize(adapted).init(jax.random.key(0))
        >>> {name: array.shape for name, array in params["0"].items()}
        {'weight': (16, 8), 'bias': (16,), 'lora_A': (2, 8), 'lora_B': (16, 2)}

    Reference: Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685.
    """
    check_positive("rank", rank)
    check_positive("alpha", alpha)
    check_probability("dropout", dropout)
    model = describe(model)
    found = {
        path: layer
        for path, layer in layout_of(model).modules.items()
        if isinstance(layer, ADAPTABLE) and _owns_weight(layer)
    }
    chosen = {id(found[path]): path for path in select(patterns, found)}

    def adapt(layer: Module, copied: Module) -> Module:
        path = chosen.get(id(layer))
        return copied if path is None else _adapted(copied, path, rank, alpha, dropout, dtype)

    return replaced(model, adapt)


def merge_lora(model: Module, params: Params) -> Params:
    """Fold each adapted layer's addition into its weight: ``W + alpha / rank * B A``.

    Args:
        model: what `lora` returned.
        params: its parameters.

    Returns:
        Parameters of the model that `lora` was given, which with them computes the same.

    Raises:
        ParameterTreeError: the parameters are not those of the adapted model.
        ValueError: the model has no adapted layer, or the weight of one is quantized, or tied to another
            layer's.

    Example:
        >>> model = nn.Linear(8, 4)
        >>> adapted = nn.lora(model, "*", rank=2)
        >>> params, state = fn.functionalize(adapted).init(jax.random.key(0))
        >>> merged = nn.merge_lora(adapted, params)
        >>> fn.functionalize(model).apply(merged, state, jnp.ones(8))[0].shape
        (4,)
    """
    model = describe(model)
    layout = layout_of(model)
    layers = {path: m for path, m in layout.modules.items() if isinstance(m, LoRA)}
    if not layers:
        raise ValueError(
            "merge_lora takes a model that nn.lora returned; this one has no LoRA layer"
        )
    leaves = placed(layout, params, "params")
    arrays = {path: leaves[id(spec)] for path, spec in layout.parameters.items()}
    for path, layer in layers.items():
        own = vars(layer)
        if isinstance(own["weight"], ComputedArray):
            raise ValueError(
                f"the weight of {path or type(layer).__name__} is in few bits, which cannot hold the addition: keep "
                "the adapted model, or load the addition into a model whose weights are floats, and merge there"
            )
        weight, a, b = (layout.path_of(own[name]) for name in ("weight", "lora_A", "lora_B"))
        if len(layout.names[weight]) > len(layout.names[a]):
            raise ValueError(
                f"the weight of {path or type(layer).__name__} is tied to another layer's, and one array cannot be "
                "folded for one of them alone: keep the adapted model, or untie the weight first"
            )
        arrays[weight] = folded(arrays[weight], arrays.pop(a), arrays.pop(b), layer.scale)
    return nest(arrays)


def folded(weight: Array, a: Array, b: Array, scale: float) -> Array:
    """Return ``W + scale * B A``; all three may have leading axes that stacking layers gave them."""
    leading = b.shape[:-2]
    flat = a.reshape(*leading, b.shape[-1], math.prod(a.shape[len(leading) + 1 :]))
    addition = jnp.matmul(b, flat).reshape(weight.shape) * scale
    return weight + addition.astype(weight.dtype)


def _owns_weight(layer: Module) -> bool:
    weight = vars(layer).get("weight")
    return is_spec(weight) or isinstance(weight, ComputedArray)


def factors(layer: Any) -> bool:
    """Say whether a layer is linear in its weight row by row, so that ``B (A x)`` is ``(B A) x``."""
    call = class_before(type(layer)).__call__
    return call is Linear.__call__ or (call is ConvolutionBase.__call__ and layer.groups == 1)


def plain(layer: LoRA, **arrays: Array | None) -> Any:
    """Return the layer that was adapted, unbound, with other arrays."""
    made = object.__new__(class_before(type(layer)))
    vars(made).update({name: v for name, v in vars(layer).items() if name != "_binding"}, **arrays)
    return made


def channel_axis(layer: Any, axes: int) -> int:
    """Return the axis of the output that the rows of the weight make."""
    if isinstance(layer, ConvolutionBase) and not layer.channels_last:
        return axes - 1 - layer.axes
    return axes - 1


def _adapted(
    layer: Any, path: str, rank: int, alpha: float, dropout: float, dtype: DType | None
) -> LoRA:
    weight = vars(layer)["weight"]
    if isinstance(layer, LoRA):
        raise ValueError(f"{path} is adapted already: merge_lora first, or choose other layers")
    if not isinstance(getattr(type(layer), "weight", None), ArrayReader | None):
        raise ValueError(
            f"{path} is a {type(layer).__name__}, which changes its weight as it is read: adapt the layer that it was "
            "made of, or choose other layers"
        )
    if not weight.complete:
        raise ValueError(
            f"{path}.weight waits for its shape {weight.shape}: declare the layer with all sizes"
        )
    made = derived_layer(LoRA, type(layer), vars(layer))
    if dropout > 0 and not factors(made):
        raise ValueError(
            f"dropout needs a linear layer or ungrouped convolution; {path} is {layer}"
        )
    kind = weight.dtype if dtype is None else dtype
    made.rank, made.scale, made.lora_dropout = rank, alpha / rank, dropout
    made.lora_A = Parameter((rank, *weight.shape[1:]), init.kaiming_uniform(a=math.sqrt(5)), kind)
    made.lora_B = Parameter((weight.shape[0], rank), init.zeros(), kind)
    return made
