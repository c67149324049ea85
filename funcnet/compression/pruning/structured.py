"""Masks of whole rows, channels or heads of a model's layers."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from funcnet.compression.pruning.ranking import Amount, Chosen
from funcnet.compression.pruning.slices import norms_of_rows, slice_masks
from funcnet.core.aliases import Array, Params, PyTree
from funcnet.core.paths import flatten
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional
from funcnet.module.module import Module
from funcnet.module.rewriting.parts import chosen_layers, description_of
from funcnet.module.specs import is_spec
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.linear import Linear
from funcnet.nn.wrappers.lora import LoRA

__all__ = ["structured_masks"]

WEIGHTED = (Linear, ConvolutionBase, ConvTransposeBase)


def structured_masks(
    module: Module | Functional,
    params: Params,
    amount: Amount,
    axis: int | Literal["rows", "channels"] = "rows",
    *,
    patterns: str | Iterable[str],
    norm: float = 2,
    masks: PyTree = None,
) -> PyTree:
    """Return masks of layers' weights that are false for whole slices, those of the smallest norms.

    Only weights are masked, as in PyTorch. `whole_units` adds all that belongs to the rows of a mask: biases, norms,
    and what the next layer makes of them; `shrink` takes them out of the arrays.

    Args:
        module: a description.
        params: its parameters.
        amount: a fraction from 0.0 to 1.0, or a count; of each layer's slices.
        axis: ``"rows"``: what a layer puts out, units or channels; ``"channels"``: what it takes in; or an axis of the
            weight.
        patterns: globs on dotted paths of modules. Of those that match, linear layers and convolutions are pruned.
        norm: which norm of a slice counts: 1, 2 or another number, infinity for the largest value.
        masks: earlier ones. What they mask stays masked, and the amount is of the slices that are left.

    Returns:
        A tree like params of booleans, True for what is kept; None for arrays that were not chosen. Each layer of a
        stack (`nn.Repeat`) has slices of its own, as many as the others.

    Raises:
        ValueError: a pattern matches no such layer, the amount is out of range, or a weight has no such axis.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> params, _ = fn.functionalize(model).init(jax.random.key(0))
        >>> masks = fn.compression.structured_masks(model, params, 1, "rows", patterns="0")
        >>> int(masks["0"]["weight"].sum()), masks["2"]["weight"]
        (4, None)

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017, https://arxiv.org/abs/1608.08710;
    ``torch.nn.utils.prune.ln_structured``
    """
    module = description_of(module)
    axes = _axes(module, patterns, axis)
    sizes, values = layout_of(module).sizes, flatten(params)
    chosen = {path: Chosen(values[path], len(sizes[path])) for path in axes}

    def score(path: str, rows: Array) -> Array:
        return norms_of_rows(rows, norm)

    return slice_masks(params, axes, chosen, amount, masks, score)


def _axes(module: Module, patterns: str | Iterable[str], axis: int | str) -> Mapping[str, int]:
    """Return the paths of the weights that are meant, with the axis of each."""
    if axis == "heads":
        raise ValueError(
            "heads lie in several arrays: unit_masks(module, params, amount, patterns=...) masks them, as it does "
            "hidden units and channels with all that belongs to them"
        )
    if not isinstance(axis, int) and axis not in ("rows", "channels"):
        raise ValueError(f"axis must be 'rows', 'channels' or an axis of the weight; got {axis!r}")
    layout = layout_of(module)
    found: dict[str, int] = {}
    for path, layer in chosen_layers(module, patterns, WEIGHTED).items():
        if isinstance(layer, LoRA):
            raise ValueError(
                f"{path or type(layer).__name__} is adapted by nn.lora: params = nn.merge_lora(model, params) first, "
                "or choose other layers by patterns"
            )
        weight: Any = vars(layer).get("weight")
        if is_spec(weight):
            found[layout.path_of(weight)] = axis if isinstance(axis, int) else side(layer, axis)
    if not found:
        raise ValueError(
            f"{patterns!r} matches layers whose weight is computed from other arrays; prune before they are wrapped"
        )
    return found


def side(layer: Module, which: str) -> int:
    """Return the axis of a weight that is the layer's output ("rows") or its input ("channels")."""
    transposed = isinstance(layer, ConvTransposeBase)
    return int(transposed == (which == "rows"))
