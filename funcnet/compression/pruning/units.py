"""Units of a model: what a layer puts out, and all that belongs to each of it in the layers that follow."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnet.compression.pruning.structured import WEIGHTED, side
from funcnet.core.paths import join, matches
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.specs import is_spec
from funcnet.nn.activations.base import ActivationLayer
from funcnet.nn.activations.gated import GLU
from funcnet.nn.activations.rectified import PReLU, RReLU
from funcnet.nn.activations.softmax import LogSoftmax, Softmax, Softmin
from funcnet.nn.attention.grouped_query import GroupedQueryAttention
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.attention.transformer_layer import TransformerLayer
from funcnet.nn.containers.sequential import Sequential
from funcnet.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d
from funcnet.nn.flatten import Flatten
from funcnet.nn.identity import Identity
from funcnet.nn.images.interpolation import Upsample
from funcnet.nn.linear import Linear
from funcnet.nn.normalization.base import TrackedNorm
from funcnet.nn.pooling.average import AdaptiveAvgPoolBase, AvgPool1d, AvgPoolBase
from funcnet.nn.pooling.lp import LPPoolBase
from funcnet.nn.pooling.max import AdaptiveMaxPoolBase, MaxPoolBase

__all__ = ["UnitGroups", "Part", "Units", "units_of"]

UnitGroups = Mapping[str, str | Sequence[str]]
"""Layers to the layers that take in what they put out: ``{"fc1": ["norm", "fc2"]}``."""

ALONE = (
    ActivationLayer, RReLU, Dropout, Dropout1d, Dropout2d, Dropout3d, AlphaDropout, Identity,
)  # fmt: skip
"""Layers without parameters that treat each number alone."""

POOLING = (
    AvgPool1d, AvgPoolBase, AdaptiveAvgPoolBase, MaxPoolBase, AdaptiveMaxPoolBase, LPPoolBase, Upsample,
)  # fmt: skip
"""Layers that treat each channel of images alone."""

MIXING = (GLU, Softmax, LogSoftmax, Softmin)
"""Activations that do not."""


class Part(NamedTuple):
    """Where the units lie in one array.

    Attributes:
        path: of the array.
        axis: of it, not counting those of stacks.
        places: ``(units, k)``: the places along the axis that belong to each unit.
        scored: whether the array's norm says how much a unit matters: it makes the unit.
        read: whether what follows is made of the units by this array alone.
    """

    path: str
    axis: int
    places: np.ndarray
    scored: bool = False
    read: bool = False


class Units(NamedTuple):
    """The units of one layer.

    Attributes:
        path: of the layer.
        number: how many there are.
        parts: all arrays in which they lie.
        sizes: attributes of modules that count them: ``(path of the module, name, how many for each unit)``.
    """

    path: str
    number: int
    parts: tuple[Part, ...]
    sizes: tuple[tuple[str, str, int], ...]


def units_of(layout: Layout, groups: UnitGroups | None = None) -> dict[str, Units]:
    """Return the units of a model's layers by the paths of those layers.

    Args:
        layout: of the model.
        groups: named ones; or None for those that are known: chains of `nn.Sequential`, the hidden units of transformer
            layers, and heads of attention layers.

    Raises:
        ValueError: groups name layers that are not there, or that cannot be cut.
    """
    if groups is not None:
        return {units.path: units for units in _named(layout, groups)}
    found: dict[str, Units] = {}
    for path, layer in layout.modules.items():
        if isinstance(layer, Sequential) and type(layer).__call__ is Sequential.__call__:
            found |= _chained(layout, path, layer)
        elif isinstance(layer, TransformerLayer):
            found |= _if_cut(layout, join(path, "linear1"), [join(path, "linear2")])
        elif isinstance(layer, MultiheadAttention | GroupedQueryAttention):
            units = _heads(path, layer) if _holds_its_heads(layer) else None
            if units is not None and not _unfit(layout, units):
                found[path] = units
    return found


def _chained(layout: Layout, path: str, chain: Sequential) -> dict[str, Units]:
    """Find the layers of a chain whose units are known to go on to one layer of it."""
    found: dict[str, Units] = {}
    layers = list(_links(chain, path))
    for place, (name, layer) in enumerate(layers):
        followers = _followers(layer, layers[place + 1 :]) if isinstance(layer, WEIGHTED) else []
        if followers:
            found |= _if_cut(layout, name, followers)
    return found


def _if_cut(layout: Layout, maker: str, followers: Sequence[str]) -> dict[str, Units]:
    """Return the units of a layer, or nothing where they cannot go."""
    if any(path not in layout.modules for path in (maker, *followers)):
        return {}  # it stands in two places, of which the other is the first
    try:
        return {maker: unit_chain(layout, maker, followers)}
    except ValueError:
        return {}


def _links(chain: Sequential, path: str) -> Iterator[tuple[str, Any]]:
    for name, part in vars(chain).items():
        if isinstance(part, Sequential) and type(part).__call__ is Sequential.__call__:
            yield from _links(part, join(path, name))
        elif isinstance(part, Module):
            yield join(path, name), part


def _followers(maker: Any, after: Sequence[tuple[str, Any]]) -> list[str]:
    """Return the layers that know the units, up to the one that takes them in; none if that is not known."""
    found: list[str] = []
    flat = False
    for path, layer in after:
        if isinstance(layer, WEIGHTED):
            return [*found, path] if _meets(maker, layer, flat) else []
        if isinstance(layer, (TrackedNorm, PReLU)) and not getattr(maker, "channels_last", False):
            if isinstance(layer, TrackedNorm) or layer.num_parameters > 1:
                found.append(path)
        elif isinstance(layer, Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
            flat = True
        elif not _leaves_alone(maker, layer) or (flat and isinstance(layer, POOLING)):
            return []  # pooling of what was flattened joins channels
    return []


def _meets(maker: Any, taker: Any, flat: bool) -> bool:
    """Say whether the channels of one layer are on the axis that the next one maps."""
    if isinstance(maker, Linear):
        return isinstance(taker, Linear)
    if isinstance(taker, Linear):
        return flat or maker.channels_last
    return not flat and maker.channels_last == taker.channels_last


def _leaves_alone(maker: Any, layer: Any) -> bool:
    """Say whether a layer treats each channel alone."""
    if isinstance(layer, POOLING):
        same = getattr(layer, "channels_last", False) == getattr(maker, "channels_last", None)
        return same and not isinstance(maker, Linear)
    return isinstance(layer, ALONE) and not isinstance(layer, MIXING)


def _why_not(layer: Any) -> str:
    """Say why a layer cannot be cut; nothing if it can."""
    if getattr(layer, "groups", 1) != 1:
        return (
            f"has groups={layer.groups}: channels of one group cannot go alone; prune it by masks"
        )
    arrays = {name for name, value in vars(layer).items() if is_spec(value)}
    extra = arrays - {"weight", "bias"}
    if extra or "weight" not in arrays:
        return (
            f"holds {', '.join(sorted(arrays)) or 'no arrays'} rather than a weight and a bias: merge what wraps it "
            "first, as by nn.merge_lora"
        )
    if not vars(layer)["weight"].complete:
        return "waits for its shape: declare it with all sizes"
    return ""


def _named(layout: Layout, groups: UnitGroups) -> Iterator[Units]:
    for pattern, followers in groups.items():
        makers = [path for path, layer in layout.modules.items() if matches(pattern, path)]
        makers = [path for path in makers if isinstance(layout.modules[path], WEIGHTED)]
        if not makers:
            raise ValueError(f"groups: {pattern!r} matches no linear layer or convolution")
        names = (followers,) if isinstance(followers, str) else tuple(followers)
        for maker in makers:
            yield unit_chain(layout, maker, [_resolved(layout, maker, name) for name in names])


def _resolved(layout: Layout, maker: str, name: str) -> str:
    """Find a layer by its name beside the maker, or by its whole path."""
    beside = join(maker.rpartition(".")[0], name)
    for path in (beside, name):
        if path in layout.modules:
            return path
    there = ", ".join(path for path in layout.modules if path)
    raise ValueError(f"groups: no layer {beside!r} or {name!r}; there are: {there}")


def unit_chain(layout: Layout, maker: str, followers: Sequence[str]) -> Units:
    """Return the units that one layer makes and others take in.

    Raises:
        ValueError: a layer cannot be cut, or takes in another number.
    """
    layer = layout.modules[maker]
    _refuse(maker, layer)
    count = int(vars(layer)["weight"].shape[side(layer, "rows")])
    each = np.arange(count)[:, None]
    name = "out_features" if isinstance(layer, Linear) else "out_channels"
    parts = [Part(join(maker, "weight"), side(layer, "rows"), each, scored=True)]
    parts += [Part(join(maker, "bias"), 0, each)] * (layer.bias is not None)
    sizes = [(maker, name, 1)]
    for path in followers:
        more, size = _taken(layout.modules[path], path, layer, count)
        parts += more
        sizes.append(size)
    if len({(part.path, part.axis) for part in parts}) != len(parts):
        raise ValueError(f"{maker} and what follows it name one array twice along one axis")
    units = Units(maker, count, tuple(parts), tuple(sizes))
    reason = _unfit(layout, units)
    if reason:
        raise ValueError(reason)
    return units


def _refuse(path: str, layer: Any) -> None:
    if not isinstance(layer, WEIGHTED):
        raise ValueError(
            f"{path} is a {type(layer).__name__}: units lie in linear layers, convolutions and norms of channels"
        )
    reason = _why_not(layer)
    if reason:
        raise ValueError(f"{path} {reason}")


def _unfit(layout: Layout, units: Units) -> str:
    """Say which array of some units has not a place of its own; nothing if all have."""
    for part in units.parts:
        if part.path not in layout.specs or len(layout.names[part.path]) > len(
            layout.module_names[layout.owner(part.path)]
        ):
            return (
                f"{part.path}, where units of {units.path} lie, is used in two places, of which each would need its "
                "own units: leave it out"
            )
    return ""


def _taken(
    layer: Any, path: str, maker: Any, count: int
) -> tuple[list[Part], tuple[str, str, int]]:
    """Return where units lie in a layer that follows."""
    if isinstance(layer, (TrackedNorm, PReLU)):
        arrays = [name for name, spec in vars(layer).items() if is_spec(spec) and spec.shape]
        name = "num_parameters" if isinstance(layer, PReLU) else "num_features"
        _check_size(path, getattr(layer, name), count, exact=True)
        each = np.arange(count)[:, None]
        return [Part(join(path, one), 0, each) for one in arrays], (path, name, 1)
    _refuse(path, layer)
    axis = side(layer, "channels")
    size, linear = int(vars(layer)["weight"].shape[axis]), isinstance(layer, Linear)
    _check_size(path, size, count, exact=not linear or isinstance(maker, Linear))
    times = size // count
    last = getattr(maker, "channels_last", False)
    places = np.arange(size).reshape((times, count) if last else (count, times))
    part = Part(join(path, "weight"), axis, places.T if last else places, read=True)
    return [part], (path, "in_features" if linear else "in_channels", times)


def _check_size(path: str, size: int, count: int, exact: bool) -> None:
    if size % count or (exact and size != count):
        raise ValueError(f"{path} takes in {size} values, which are not those of {count} units")


def _holds_its_heads(layer: Any) -> bool:
    """Say whether an attention layer holds all arrays of its heads itself: none is adapted, quantized or computed."""
    parts = [part for part in vars(layer).values() if isinstance(part, Linear)]
    computed = [part for part in (layer, *parts) if "parametrizations" in vars(part)]
    return not computed and not any(map(_why_not, parts))


def _heads(path: str, layer: Any) -> Units:
    """Return the heads of an attention layer."""
    packed = isinstance(layer, MultiheadAttention)
    parts, sizes, number = _packed_heads(layer) if packed else _shared_heads(layer)
    own = tuple(part._replace(path=join(path, part.path)) for part in parts)
    return Units(path, number, own, tuple((join(path, *name), *rest) for name, *rest in sizes))


def _packed_heads(layer: MultiheadAttention) -> tuple[list[Part], list[Any], int]:
    """Return where each head lies: rows for queries, keys and values, and columns of the output."""
    number = layer.num_heads
    width = int(vars(layer.out_proj)["weight"].shape[1])
    each = np.arange(width).reshape(number, width // number)
    thrice = np.concatenate([each, each + width, each + 2 * width], 1)
    where = {
        "in_proj_weight": Part("in_proj_weight", 0, thrice, scored=True),
        **{
            f"{name}_proj_weight": Part(f"{name}_proj_weight", 0, each, scored=True)
            for name in "qkv"
        },
        "in_proj_bias": Part("in_proj_bias", 0, thrice),
        "bias_k": Part("bias_k", 2, each),
        "bias_v": Part("bias_v", 2, each),
    }
    parts = [part for name, part in where.items() if vars(layer)[name] is not None]
    parts.append(Part("out_proj.weight", 1, each, read=True))
    sizes = [((), "num_heads", 1), (("out_proj",), "in_features", each.shape[1])]
    return parts, sizes, number


def _shared_heads(layer: GroupedQueryAttention) -> tuple[list[Part], list[Any], int]:
    """Return where each head of keys and values lies, with the query heads that share it."""
    number, width = layer.num_kv_heads, layer.head_dim
    shared = layer.num_heads // number
    narrow = np.arange(number * width).reshape(number, width)
    wide = np.arange(layer.num_heads * width).reshape(number, shared * width)
    parts: list[Part] = []
    sizes: list[Any] = [((), "num_heads", shared), ((), "num_kv_heads", 1)]
    for name, places in (("q_proj", wide), ("k_proj", narrow), ("v_proj", narrow)):
        parts.append(Part(f"{name}.weight", 0, places, scored=True))
        parts += [Part(f"{name}.bias", 0, places)] * (getattr(layer, name).bias is not None)
        sizes.append(((name,), "out_features", places.shape[1]))
    parts.append(Part("o_proj.weight", 1, wide, read=True))
    return parts, [*sizes, (("o_proj",), "in_features", wide.shape[1])], number
