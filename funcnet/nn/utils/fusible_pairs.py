"""Which layers a batch norm directly follows, so that both can become one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from funcnet.core.paths import join, matches
from funcnet.module import Module
from funcnet.module.description import Node, layout_of, snapshot
from funcnet.module.layout import Layout
from funcnet.module.specs import is_spec
from funcnet.nn.containers.sequential import Sequential
from funcnet.nn.convolution.base import FilterLayer
from funcnet.nn.convolution.plain import ConvolutionBase
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.identity import Identity
from funcnet.nn.linear import Linear
from funcnet.nn.normalization.base import TrackedNorm
from funcnet.nn.normalization.batch import BatchNorm1d

__all__ = ["Pair", "fusible_pairs"]

CALLED = (ConvolutionBase, ConvTransposeBase, Linear)
"""What defines the call of the layers that can be fused."""


class Pair(NamedTuple):
    """A layer and the batch norm of its output, with their paths."""

    layer_path: str
    norm_path: str
    layer: Any
    norm: Any

    @property
    def channels(self) -> int:
        """How many channels the layer makes."""
        return (
            self.layer.out_features if isinstance(self.layer, Linear) else self.layer.out_channels
        )


def fusible_pairs(
    module: Module,
    kind: type,
    named: Iterable[tuple[str, str]] = (),
    patterns: str | Iterable[str] = "*",
) -> list[Pair]:
    """Find the layers of a class that a batch norm follows: in `Sequential`, and as they are named.

    Args:
        module: a description.
        kind: of the layers.
        named: names of a layer and its norm, in every module that has both.
        patterns: globs on the paths of the layers.

    Raises:
        ValueError: there is none, or one that cannot be fused; the message says why.

    Example:
        >>> from funcnet.nn.utils.fusible_pairs import fusible_pairs
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8))
        >>> [(pair.layer_path, pair.norm_path) for pair in fusible_pairs(model, nn.Linear)]
        [('0', '1')]
    """
    layout, node = layout_of(module), snapshot(module)
    found = {id(pair.layer): pair for pair in _in_sequence(layout, kind)}
    for pair in _by_name(layout, kind, named):
        if found.setdefault(id(pair.layer), pair).norm is not pair.norm:
            raise ValueError(
                f"{pair.layer_path} is followed by {found[id(pair.layer)].norm_path} and by {pair.norm_path}: name "
                "one of them"
            )
    globs = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    chosen = _chosen(layout, list(found.values()), globs, kind)
    uses = _uses(node)
    for pair in chosen:
        _check(pair, layout, uses)
    return chosen


def _in_sequence(layout: Layout, kind: type) -> Iterator[Pair]:
    """Go through the layers that a norm follows in a `Sequential` that calls its parts in turn."""
    path_of = {id(module): path for path, module in layout.modules.items()}
    for module in layout.modules.values():
        if isinstance(module, Sequential) and type(module).__call__ is Sequential.__call__:
            parts = [part for part in module if type(part) is not Identity]
            for layer, norm in pairwise(parts):
                if _fits(layer, kind) and _is_batch_norm(norm):
                    yield Pair(path_of[id(layer)], path_of[id(norm)], layer, norm)


def _by_name(layout: Layout, kind: type, named: Iterable[tuple[str, str]]) -> Iterator[Pair]:
    modules = layout.modules
    for pair in named:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(
                f"pairs holds two names each, such as [('conv1', 'bn1')]; got {pair!r}"
            )
        layer, norm = pair
        both = [(join(path, layer), join(path, norm)) for path in modules]
        both = [(a, b) for a, b in both if a in modules and b in modules]
        if not both:
            raise ValueError(f"no module of the model has both {layer!r} and {norm!r}")
        for a, b in both:
            if not _fits(modules[a], kind):
                raise ValueError(
                    f"{a} is no plain layer of its class, which can be fused: {modules[a]}"
                )
            if not _is_batch_norm(modules[b]):
                raise ValueError(f"{b} is no batch norm: {modules[b]}")
            yield Pair(a, b, modules[a], modules[b])


def _fits(layer: Any, kind: type) -> bool:
    """Say whether a layer is of a class, calls as the class does, and holds its weight itself."""
    as_its_class = isinstance(layer, kind) and any(
        type(layer).__call__ is base.__call__ for base in CALLED
    )
    return as_its_class and is_spec(vars(layer).get("weight"))


def _is_batch_norm(norm: Any) -> bool:
    return isinstance(norm, TrackedNorm) and type(norm).__call__ is BatchNorm1d.__call__


def _chosen(layout: Layout, found: list[Pair], globs: tuple[str, ...], kind: type) -> list[Pair]:
    what = "linear layer" if kind is Linear else "convolution"
    if not found:
        raise ValueError(
            f"found no {what} that a batch norm directly follows in an nn.Sequential; where a model calls them by "
            "itself, name them: pairs=[('conv1', 'bn1')]"
        )
    chosen: set[str] = set()
    for glob in globs:
        paths = {
            pair.layer_path
            for pair in found
            if any(
                matches(glob, name)
                for name in (pair.layer_path, *layout.module_names[pair.layer_path])
            )
        }
        if not paths:
            there = ", ".join(pair.layer_path for pair in found)
            raise ValueError(f"{glob!r} matches no {what} before a batch norm; there are: {there}")
        chosen |= paths
    return [pair for pair in found if pair.layer_path in chosen]


def _uses(node: Node) -> dict[int, set[tuple[int, Any]]]:
    """Return the places where each module stands, by its ``id``."""
    uses: dict[int, set[tuple[int, Any]]] = defaultdict(set)
    seen: set[int] = set()

    def walk(above: Node) -> None:
        if id(above) in seen:
            return
        seen.add(id(above))
        for name, part in above.parts:
            uses[id(part.value)].add((id(above), name))
            walk(part)

    walk(node)
    return uses


def _check(pair: Pair, layout: Layout, uses: dict[int, set[tuple[int, Any]]]) -> None:
    """Raise ``ValueError`` unless a norm can be folded into a layer without changing anything else."""
    layer, norm = pair.layer, pair.norm
    for path, part in ((pair.layer_path, layer), (pair.norm_path, norm)):
        if len(uses[id(part)]) > 1:
            raise ValueError(
                f"{path} stands in {len(uses[id(part)])} places of the model, and what is fused for one would change "
                "the others: leave it out by patterns=..., or give each place a layer of its own"
            )
        for name, spec in vars(part).items():
            if is_spec(spec) and len(layout.owners[id(spec)]) > 1:
                raise ValueError(
                    f"{join(path, name)} is tied to another layer's array, and one array cannot be fused for one of "
                    "them alone: leave it out by patterns=..., or untie it first"
                )
    if norm.running_mean is None:
        raise ValueError(
            f"{pair.norm_path} has track_running_stats=False: it normalizes by each batch's own statistics, which are "
            "not known beforehand, so that it cannot be fused"
        )
    if layout.module_sizes[pair.layer_path] != layout.module_sizes[pair.norm_path]:
        raise ValueError(
            f"{pair.layer_path} and {pair.norm_path} do not lie in the same stack of layers"
        )
    features = norm.running_mean.shape[0]
    if features is not None and features != pair.channels:
        raise ValueError(
            f"{pair.norm_path} has {features} channels, but {pair.layer_path} makes {pair.channels}"
        )
    if isinstance(layer, FilterLayer) and layer.channels_last != norm.channels_last:
        raise ValueError(
            f"{pair.layer_path} and {pair.norm_path} do not have the same channels_last, so that the norm's channels "
            "are not the convolution's"
        )
