"""Places: the words with which a rule says how an array, or a module's output, is spread over a mesh."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jax.sharding import Mesh, PartitionSpec

__all__ = [
    "Copies",
    "Fsdp",
    "Output",
    "RulePlace",
    "as_spec",
    "batch_axes",
    "copies",
    "data_axis",
    "fsdp",
    "output",
]

SMALLEST = 1024
"""An array of fewer numbers stays whole under ``"fsdp"``: to gather it would cost more than it saves."""


@dataclass(frozen=True)
class Fsdp:
    """Spread an array over the data axis beside another place; made by `fsdp`."""

    place: tuple[Any, ...] = ()
    smallest: int = SMALLEST

    def __repr__(self) -> str:
        """Show the call that makes it."""
        return f"fsdp({self.place!r})" if self.place else "'fsdp'"


@dataclass(frozen=True)
class Output:
    """Spread what modules return; made by `output`."""

    spec: PartitionSpec

    def __repr__(self) -> str:
        """Show the call that makes it."""
        return f"output{tuple(self.spec)!r}"


@dataclass(frozen=True)
class Copies:
    """Spread the copies that an array holds; made by `copies`."""

    axis: Any
    place: Any = ()

    def __repr__(self) -> str:
        """Show the call that makes it."""
        return f"copies({self.axis!r}, {self.place!r})"


RulePlace: TypeAlias = str | tuple[Any, ...] | PartitionSpec | Fsdp | Copies | Output | None
"""What a rule may say: see `shard`."""


def fsdp(place: Any = (), *, smallest: int = SMALLEST) -> Fsdp:
    """Spread an array over the data axis too: its largest dimension that divides and that is not spread yet.

    The array is kept in parts, gathered where it is used, and its gradient comes back in parts. The word ``"fsdp"``
    in a rule means ``fsdp()``.

    Args:
        place: how the array is spread besides, as in a rule.
        smallest: arrays of fewer numbers (of one layer) stay as ``place`` says.

    Returns:
        A place for the rules of `shard`.

    Example:
        >>> parallel = fn.parallel
        >>> rules = {"*.weight": parallel.fsdp(("model", None)), "*": "fsdp"}

    Reference: Rajbhandari et al., ZeRO, 2020, https://arxiv.org/abs/1910.02054 (stage 3); Zhao et al., PyTorch FSDP,
    2023, https://arxiv.org/abs/2304.11277
    """
    if place == "fsdp" or isinstance(place, Fsdp | Copies | Output):
        raise TypeError(
            f"fsdp takes a tuple of names of axes, such as ('model', None); got {place!r}"
        )
    return Fsdp(tuple(as_spec(place)), smallest)


def copies(axis: str | tuple[str, ...], place: Any = ()) -> Copies:
    """Spread the copies that one array holds, of `nn.Vmap` and so the experts of `nn.MixtureOfExperts`.

    Args:
        axis: of the mesh, or several, over which the copies are shared out. Of stacks within stacks, the innermost.
        place: how each copy is spread besides, as in a rule: a tuple, ``"fsdp"`` or `fsdp`.

    Returns:
        A place for the rules of `shard`.

    Example:
        >>> rules = {"*.experts.*": fn.parallel.copies("expert"), "*": None}
    """
    if isinstance(place, Copies | Output):
        raise TypeError(
            f"copies takes the place of each copy besides: a tuple or 'fsdp'; got {place!r}"
        )
    if not _is_entry(axis) or not axis:
        raise TypeError(f"copies takes the name of an axis of the mesh, or several; got {axis!r}")
    return Copies(axis, place)


def output(*entries: Any) -> Output:
    """Spread what modules return: the pattern of this rule then names modules, not arrays.

    Args:
        *entries: one for each dimension of the output, from the first: the name of an axis, a tuple of names, or
            None. Dimensions without an entry are not spread. Or one tuple of these.

    Returns:
        A place for the rules of `shard`. Of several arrays, those that have dimensions enough are spread.

    Example:
        >>> rules = {"*.norm": fn.parallel.output("data", "model", None)}      # along the sequence
    """
    if len(entries) == 1 and isinstance(entries[0], tuple | PartitionSpec):
        entries = tuple(entries[0])
    as_spec(
        entries
    )  # raises for what is no place; None at the end says how many dimensions there are
    return Output(PartitionSpec(*entries))


def as_spec(place: Any) -> PartitionSpec:
    """Return the PartitionSpec of a tuple of names.

    Raises:
        TypeError: it is something else.
    """
    if place is None:
        return PartitionSpec()
    right = isinstance(place, tuple | list | PartitionSpec) and all(map(_is_entry, place))
    if not right:
        raise TypeError(
            "a place is None (whole on every device), 'fsdp', parallel.fsdp(...), parallel.copies(...), "
            "parallel.output(...), or a tuple with an entry for each dimension, the name of an axis, a tuple of names "
            f"or None: ('model', None); got {place!r}"
        )
    return trimmed(tuple(e) if isinstance(e, list) else e for e in place)


def _is_entry(entry: Any) -> bool:
    if isinstance(entry, tuple | list):
        return all(isinstance(name, str) for name in entry)
    return entry is None or isinstance(entry, str)


def names_in(spec: PartitionSpec) -> list[str]:
    """List the axes that a spec names."""
    entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec)
    return [name for entry in entries for name in entry if name is not None]


def parts_of(mesh: Mesh, entry: Any) -> int:
    """Return into how many parts an entry of a spec cuts a dimension."""
    names = entry if isinstance(entry, tuple) else () if entry is None else (entry,)
    return math.prod(mesh.shape[name] for name in names)


def data_axis(mesh: Mesh) -> str:
    """Return the axis that ``"fsdp"`` spreads over: ``fsdp`` if the mesh has it, else ``data``.

    Raises:
        ValueError: the mesh has neither.
    """
    for name in ("fsdp", "data"):
        if name in mesh.axis_names:
            return name
    raise ValueError(
        f"'fsdp' spreads arrays over an axis of the mesh named 'fsdp' or 'data'; this mesh has {mesh.axis_names}: "
        "write parallel.mesh(data=-1, ...)"
    )


def batch_axes(mesh: Mesh, axis: str = "data") -> tuple[str, ...]:
    """Return the axes that a batch is spread over: the one named, and ``fsdp`` if the mesh has it.

    Raises:
        ValueError: the mesh has none of them.
    """
    found = tuple(name for name in mesh.axis_names if name in (axis, "fsdp"))
    if not found:
        raise ValueError(f"the mesh has no axis {axis!r}; it has {mesh.axis_names}")
    return found


def spread_further(
    mesh: Mesh, spec: PartitionSpec, shape: tuple[int, ...], axis: str, *, largest: bool = True
) -> PartitionSpec:
    """Spread one more dimension over an axis: the largest, or the first, that divides.

    Dimensions that are not spread yet come first. Where none divides, the spec stays.

    >>> mesh = fn.parallel.mesh(data=1, devices=jax.devices()[:1])
    >>> spread_further(mesh, jax.sharding.PartitionSpec(), (3, 5), "data")
    P(None, 'data')
    """
    if axis in names_in(spec):
        return spec
    entries = [*spec, *[None] * (len(shape) - len(spec))]
    fitting = [
        place
        for place, (length, entry) in enumerate(zip(shape, entries, strict=True))
        if length and length % (parts_of(mesh, entry) * mesh.shape[axis]) == 0
    ]
    if not fitting:
        return spec
    rank = {
        place: (entries[place] is not None, -shape[place] if largest else place)
        for place in fitting
    }
    chosen = min(fitting, key=lambda place: rank[place])
    entry = entries[chosen]
    names = entry if isinstance(entry, tuple) else () if entry is None else (entry,)
    entries[chosen] = (*names, axis) if names else axis
    return trimmed(entries)


def trimmed(entries: Iterable[Any]) -> PartitionSpec:
    """Make a spec without None at its end: XLA leaves that out, and `jax.jit` tells the two apart."""
    kept = list(entries)
    while kept and kept[-1] is None:
        kept.pop()
    return PartitionSpec(*kept)
