"""Rectifiers, the larger of two, and the maximum over windows, which `F.max_pool2d` writes as choices of slices."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from funcnet.export.fusions.pattern import Search
from funcnet.export.fusions.replacement import Replacement
from funcnet.export.onnx.graph import GraphNode

__all__ = ["fuse_maximum", "fuse_relu", "fuse_windows"]

_RELU = ("Where", ("LessOrEqual", "x", 0.0), 0.0, "x")
_IS_NAN = (("Not", ("Equal", "b", "b")), ("IsNaN", "b"))
_LARGER = tuple(("Where", ("Or", ("Greater", "b", "a"), nan), "b", "a") for nan in _IS_NAN)


def fuse_relu(search: Search, node: GraphNode) -> Replacement | None:
    """Write ``0 if x <= 0 else x`` as Relu."""
    found = search.match(node, _RELU) if node.op_type == "Where" else None
    if found is None or search.dtype(found["x"]) != np.float32:
        return None
    if not search.keeps_shape(found["x"], node):
        return None
    return Replacement("Relu", [found["x"]])


def fuse_maximum(search: Search, node: GraphNode) -> Replacement | None:
    """Write ``b if b > a or b is NaN else a`` as Max, which keeps NaN as well."""
    if node.op_type != "Where":
        return None
    found = next(filter(None, (search.match(node, each) for each in _LARGER)), None)
    return None if found is None else Replacement("Max", [found["a"], found["b"]])


_MOST_AXES = 3
"""Over more, ONNX Runtime has no MaxPool."""


@dataclass(frozen=True)
class _Windows:
    """The maximum over windows of one axis of a value."""

    source: str
    axis: int
    size: int
    stride: int
    dilation: int
    count: int


def fuse_windows(search: Search, node: GraphNode) -> Replacement | None:
    """Write maxima over windows of one spatial axis after the other as MaxPool."""
    over, name = [], node.outputs[0]
    while (windows := _windows(search, name)) is not None:
        over.append(windows)
        name = windows.source
    shape = search.shape(name)
    axes = [each.axis for each in over]
    if not over or shape is None or sorted(axes) != list(range(2, len(shape))):
        return None
    if len(over) > _MOST_AXES or search.dtype(name) != np.float32 or not _covers_all(shape, over):
        return None
    over.sort(key=lambda each: each.axis)
    source, pads = _padding(search, name, shape, over)
    return Replacement(
        "MaxPool",
        [source],
        {
            "kernel_shape": [each.size for each in over],
            "strides": [each.stride for each in over],
            "dilations": [each.dilation for each in over],
            "pads": pads,
        },
    )


def _windows(search: Search, name: str) -> _Windows | None:
    """Read a tree of Max whose leaves are slices of one value, each a step further along one axis."""
    leaves = [] if search.maker(name, "Max") is None else _leaves(search, name)
    slices = [_slice(search, each) for each in leaves]
    if not slices or any(each is None for each in slices):
        return None
    known = [each for each in slices if each is not None]
    starts = sorted(each.start for each in known)
    steps = {later - earlier for earlier, later in pairwise(starts)}
    # as many numbers in each: a lone one would be repeated
    alike = {(each.source, each.axis, each.step, each.count) for each in known}
    if len(alike) != 1 or starts[0] != 0 or len(steps) != 1 or 0 in steps:
        return None
    ((source, axis, stride, count),) = alike
    return _Windows(source, axis, len(starts), stride, steps.pop(), count)


def _leaves(search: Search, name: str) -> list[str]:
    node = search.maker(name, "Max")
    if node is None:
        return [name]
    return [leaf for each in node.inputs for leaf in _leaves(search, each)]


@dataclass(frozen=True)
class _Slice:
    """Every ``step``-th number of a value along one axis, ``count`` of them."""

    source: str
    axis: int
    start: int
    step: int
    count: int


def _slice(search: Search, name: str) -> _Slice | None:
    """Read a Slice along one axis that goes forward between known places."""
    node = search.maker(name, "Slice")
    if node is None or len(node.inputs) not in (4, 5):
        return None
    known = [search.integers(each) for each in node.inputs[1:]]
    if any(each is None or len(each) != 1 for each in known):
        return None
    start, end, axis, step = [each[0] for each in known if each] + [1] * (5 - len(node.inputs))
    if step < 1 or start < 0 or end < start:
        return None
    return _Slice(node.inputs[0], axis, start, step, len(range(start, end, step)))


def _covers_all(shape: tuple[Any, ...], over: list[_Windows]) -> bool:
    """Say whether there are as many windows as fit, which is what MaxPool makes."""
    for each in over:
        length = shape[each.axis]
        if not isinstance(length, int):
            return False
        if each.count != (length - each.dilation * (each.size - 1) - 1) // each.stride + 1:
            return False
    return True


def _padding(
    search: Search, name: str, shape: tuple[Any, ...], over: list[_Windows]
) -> tuple[str, list[int]]:
    """Read padding with -inf of spatial axes before, which MaxPool does itself if no window lies in it whole."""
    none = [0] * (2 * len(over))
    node = search.maker(name, "Pad")
    if node is None or len(node.inputs) != 3:
        return name, none
    amounts, value = search.integers(node.inputs[1]), search.number(node.inputs[2])
    if amounts is None or value != -np.inf:
        return name, none
    half = len(amounts) // 2
    low, high = amounts[:half], amounts[half:]
    if any(low[:2] + high[:2]):
        return name, none
    for each, before, after in zip(over, low[2:], high[2:], strict=True):
        inside = shape[each.axis] - before - after
        if not (0 <= before < each.size and 0 <= after < each.size and inside >= each.dilation):
            return name, none
    return node.inputs[0], low[2:] + high[2:]
