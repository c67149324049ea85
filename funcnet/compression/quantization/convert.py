"""From training for few bits to few bits: a model of integers that computes what the trained one did."""

from typing import Any, TypeVar

import numpy as np

from funcnet.compression.quantization.fake import FakeQuantized, with_starts
from funcnet.compression.quantization.integer import (
    PRODUCT_FORMS,
    RoundedInput,
    has_integer_form,
    in_integers,
)
from funcnet.compression.quantization.quantize import quantize
from funcnet.compression.quantization.ranges import parameters_of
from funcnet.compression.quantization.schemes import Scheme
from funcnet.core.aliases import Array, Params, State
from funcnet.core.checks import check_choice
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of, replaced
from funcnet.module.layout import placed
from funcnet.module.rewriting.derived_layers import class_before
from funcnet.module.rewriting.parts import trees_of

__all__ = ["convert"]

ModuleT = TypeVar("ModuleT", bound=Module)


def convert(
    module: ModuleT, params: Params, state: State, *, products: str = "integer"
) -> tuple[ModuleT, Params, State]:
    """Return a model whose weights are in few bits, and whose inputs are rounded by the ranges that were found.

    It computes what the given one does, to the rounding of the last digits. Linear layers and convolutions with
    symmetric 8-bit weights multiply integers; other layers multiply the numbers that few bits stand for.

    Args:
        module: what `fake_quantize` returned.
        params: its parameters, trained or not.
        state: its buffers, with the ranges that training or `calibrate` found.
        products: ``"float"`` to multiply floats in all layers. Exported to ONNX each product then stands between
            QuantizeLinear and DequantizeLinear, which runtimes make one product of integers.

    Returns:
        The new description, params and state; the names are those that `quantize` gives, and beside each weight
        ``input_rounding.scale`` and ``input_rounding.zero_point``.

    Raises:
        ValueError: the model has no layer that trains for few bits, or a range is not known.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> small = fn.compression.fake_quantize(model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> module, params, state = small
        >>> state = fn.compression.calibrate(module, params, state, [jnp.ones((1, 4))])
        >>> made, few, kept = fn.compression.convert(module, params, state)
        >>> sorted(kept["input_rounding"]), kept["weight"]["values"].dtype.name
        (['scale', 'zero_point'], 'int8')

    Reference: ``torch.ao.quantization.convert``.
    """
    check_choice("products", products, PRODUCT_FORMS)
    module = describe(module)
    layout = layout_of(module)
    layers = {path: m for path, m in layout.modules.items() if isinstance(m, FakeQuantized)}
    if not layers:
        raise ValueError("convert takes a model that compression.fake_quantize returned")
    leaves = placed(layout, params, "params") | placed(layout, state, "state")
    _check_known(layers, leaves, layout)
    paths = {id(layer): path for path, layer in layers.items()}

    def change(layer: Any, copied: Any) -> Any:
        if id(layer) not in paths:
            return copied
        made, known = _converted(layer, copied, leaves, products)
        leaves.update(known)
        return made

    made = replaced(module, change)
    params, state = trees_of(made, with_starts(made, leaves))
    for scheme, several in _by_scheme(layers).items():
        how: dict[str, Any] = {"kinds": Module, "arrays": "weight"}
        made, params, state = quantize(made, params, state, scheme, several, **how)
    return made, params, state


def _check_known(layers: dict[str, Any], leaves: dict[int, Array], layout: Any) -> None:
    """Refuse ranges that neither training nor calibration has set."""
    unknown: list[str] = []
    for path, layer in layers.items():
        if layer.input_range is None:
            continue
        own = vars(layer.input_range)
        low, high = (np.asarray(leaves[id(own[name])]).reshape(-1) for name in ("low", "high"))
        names = layout.module_names[path]
        unknown += [name for name, a, b in zip(names, low, high, strict=True) if not a <= b]
    if unknown:
        raise ValueError(
            f"the range of what {', '.join(map(repr, unknown))} is given is not known: train the model with "
            "train=True and keep the state, or call compression.calibrate"
        )


def _converted(
    layer: Any, copied: Any, leaves: dict[int, Array], products: str
) -> tuple[Any, dict[int, Array]]:
    """Return a layer of the class it was, or its form of integers; and the arrays of its rounding."""
    own = dict(vars(copied))
    given, cls = layer.input_range, class_before(type(layer))
    del own["input_range"], own["weight_scheme"]
    if given is None:
        made = object.__new__(cls)
        vars(made).update(own)
        return made, {}
    low, high = (leaves[id(vars(given)[name])] for name in ("low", "high"))
    scale, zero_point = parameters_of(given.how, low, high)
    rounding = RoundedInput(given.how.bits, given.how.symmetric)
    known = {id(vars(rounding)["scale"]): scale, id(vars(rounding)["zero_point"]): zero_point}
    form = products if has_integer_form(cls) else "float"
    return in_integers(cls, own, rounding, products=form), known


def _by_scheme(layers: dict[str, Any]) -> dict[Scheme, list[str]]:
    schemes: dict[Scheme, list[str]] = {}
    for path, layer in layers.items():
        if layer.weight_scheme is not None:
            schemes.setdefault(layer.weight_scheme, []).append(path)
    return schemes
