"""Which devices take part in a collective together, and which axes of the mesh that is."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jax.sharding import Mesh

__all__ = ["DeviceGroups", "axes_of", "read_groups"]

Groups = frozenset[frozenset[int]]

_LISTED = re.compile(r"\b(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"\breplica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"\breplica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}]*)\}")


@dataclass(frozen=True)
class DeviceGroups:
    """Groups of devices, by their positions in the mesh.

    Attributes:
        size: how many devices exchange with each other.
        groups: which they are; None where XLA prints them in a form that is not known here.
        pairs: whether they are senders and receivers instead.
    """

    size: int
    groups: Groups | None
    pairs: tuple[tuple[int, int], ...] = ()


def read_groups(text: str, devices: int) -> DeviceGroups:
    """Read the groups from an instruction's attributes, in any of XLA's three forms.

    Args:
        text: the instruction as printed.
        devices: how many there are.

    Returns:
        The groups; all devices together if the text names none.
    """
    found = _LISTED.search(text)
    if found is not None and found[1]:
        rows = [tuple(map(int, row.split(","))) for row in re.findall(r"\{([\d,]+)\}", found[1])]
        if "source_target_pairs=" in found[0]:
            return DeviceGroups(2, None, tuple((row[0], row[1]) for row in rows))
        return _grouped(rows)
    if (iota := _IOTA.search(text)) is not None:
        shape, reshape, transpose = (_numbers(part) for part in iota.groups())
        order = np.arange(math.prod(reshape)).reshape(reshape)
        return _grouped(order.transpose(transpose or None).reshape(shape).tolist())
    if (mesh := _MESH.search(text)) is not None:
        return _of_mesh(*mesh.groups())
    return _grouped([range(devices)])


def _grouped(rows: Sequence[Sequence[int]]) -> DeviceGroups:
    return DeviceGroups(max(map(len, rows)), frozenset(frozenset(row) for row in rows))


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",")) if text else ()


def _of_mesh(axes: str, order: str, chosen: str) -> DeviceGroups:
    """Read ``mesh['a'=2,'b'=4] {'b'}`` and, of a part of an axis, ``{'b':(1)2}``: before it 1, in it 2."""
    sizes = {name: int(size) for name, size in re.findall(r"'?([\w.\-]+)'?=(\d+)", axes)}
    dims: list[int] = []
    picked: list[int] = []
    parts = dict(re.findall(r"'?([\w.\-]+)'?(?::(\(\d+\)\d+))?", chosen))
    for name, size in sizes.items():
        before, inside = 1, size
        if parts.get(name):
            before, inside = (int(n) for n in re.findall(r"\d+", parts[name]))
        pieces = [before, inside, size // (before * inside)]
        if name in parts:
            picked.append(len(dims) + 1)
        dims += pieces
    count = math.prod(dims[index] for index in picked)
    ids = _order(order, math.prod(dims))
    if ids is None:
        return DeviceGroups(count, None)
    grid = np.moveaxis(ids.reshape(dims), picked, range(-len(picked), 0))
    return _grouped(grid.reshape(-1, count).tolist())


def _order(text: str, devices: int) -> np.ndarray | None:
    """Read ``device_ids=([2,4]T(1,0))`` or ``device_ids=(3,2,1,0)``: which devices a mesh has, in its order."""
    if "device_ids" not in text:
        return np.arange(devices)
    iota = re.search(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota is not None:
        shape, transpose = (_numbers(part) for part in iota.groups())
        return np.arange(math.prod(shape)).reshape(shape).transpose(transpose or None)
    listed = re.search(r"\(([\d,\s]+)\)", text)
    return np.array([int(number) for number in listed[1].split(",")]) if listed else None


def axes_of(found: DeviceGroups, mesh: Mesh | None) -> tuple[str, ...] | None:
    """Name the axes of a mesh along which devices exchange.

    Args:
        found: from `read_groups`.
        mesh: of the program's arguments.

    Returns:
        The axes; None where the groups are not those of any axes.
    """
    if mesh is None:
        return None
    grid = np.arange(mesh.size).reshape(mesh.devices.shape)
    if found.pairs:
        return _axes_of_pairs(found.pairs, grid, mesh.axis_names)
    names = [name for name in mesh.axis_names if mesh.shape[name] > 1]
    for count in range(1, len(names) + 1):
        for some in combinations(names, count):
            if _along(grid, mesh.axis_names, some) == found.groups:
                return some
    return None


def _along(grid: np.ndarray, names: tuple[str, ...], some: tuple[str, ...]) -> Groups:
    picked = [names.index(name) for name in some]
    rows = np.moveaxis(grid, picked, range(-len(picked), 0))
    size = math.prod(grid.shape[axis] for axis in picked)
    return frozenset(frozenset(row) for row in rows.reshape(-1, size).tolist())


def _axes_of_pairs(
    pairs: Sequence[tuple[int, int]], grid: np.ndarray, names: tuple[str, ...]
) -> tuple[str, ...] | None:
    if any(max(pair) >= grid.size for pair in pairs):
        return None
    ends = (np.unravel_index(list(side), grid.shape) for side in zip(*pairs, strict=True))
    source, target = ends
    moved = [bool((a != b).any()) for a, b in zip(source, target, strict=True)]
    return tuple(name for name, moves in zip(names, moved, strict=True) if moves)
