"""Placement: where each array of a model lies on a mesh, and how outputs of its parts are spread."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from funcnet.core.paths import join
from funcnet.core.shardings import bytes_per_device, constrained, gathered
from funcnet.module.layout import Layout

__all__ = ["ShardedArray", "Placement"]


class ShardedArray(NamedTuple):
    """One array of a model that is spread over a mesh.

    Attributes:
        shape: of the whole, with the axes that stacking adds.
        dtype: of its numbers.
        stored: how it is kept, and how its gradient is.
        computed: how computation takes it; another than ``stored`` where it is gathered first.
        pattern: of the rule that says so; ``""`` if no pattern matches and the array is whole everywhere.
    """

    shape: tuple[int, ...]
    dtype: Any
    stored: PartitionSpec
    computed: PartitionSpec
    pattern: str = ""


@dataclass(frozen=True)
class Placement:
    """Where a model's arrays lie: what `parallel.shard` worked out of rules.

    Attributes:
        mesh: the devices.
        arrays: by dotted path, of params and of state.
        outputs: by module path, how the arrays that the module returns are spread.
    """

    mesh: Mesh
    arrays: Mapping[str, ShardedArray] = field(default_factory=dict)
    outputs: Mapping[str, PartitionSpec] = field(default_factory=dict)

    @cached_property
    def specs(self) -> dict[str, PartitionSpec]:
        """How each array is kept, by dotted path."""
        return {path: one.stored for path, one in self.arrays.items()}

    @cached_property
    def spread(self) -> dict[str, ShardedArray]:
        """The arrays that are gathered before they are used."""
        return {path: one for path, one in self.arrays.items() if one.stored != one.computed}

    def sharding(self, path: str) -> NamedSharding:
        """Return the sharding of an array; of a path that is unknown, whole on every device."""
        return NamedSharding(self.mesh, self.specs.get(path, PartitionSpec()))

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    def kept(self, tree: Any, prefix: str = "") -> Any:
        """Have each array of params or state lie where it is kept, such as those that were loaded from a file.

        Args:
            tree: nested dicts of arrays.
            prefix: the path of the dict.

        Example:
            >>> net = fn.parallel.shard(fn.functionalize(nn.Linear(8, 8)), fn.parallel.mesh(data=-1), {"*": "fsdp"})
            >>> path = fn.checkpoint.save_weights("w.safetensors", net.module, *net.init(jax.random.key(0)))
            >>> params, state = map(net.placement.kept, fn.checkpoint.load_weights(path, net.module))
        """
        if isinstance(tree, Mapping):
            return {name: self.kept(below, join(prefix, name)) for name, below in tree.items()}
        one = self.arrays.get(prefix)
        # what has another shape may not divide; it is told when it is bound, with the shape that is declared
        fits = one is not None and getattr(tree, "shape", None) == tuple(one.shape)
        return constrained(tree, self.sharding(prefix)) if fits else tree

    def taken(self, path: str, array: Any) -> Any:
        """Gather an array that is kept in parts, if it is one."""
        one = self.spread.get(path)
        if one is None:
            return array
        stored, whole = (NamedSharding(self.mesh, spec) for spec in (one.stored, one.computed))
        return gathered(array, stored, whole)

    def constrain_output(self, path: str, output: Any) -> Any:
        """Spread what a module returned, if a rule names it.

        Raises:
            ValueError: no array of the output has as many dimensions as the rule's place.
        """
        spec = self.outputs.get(path)
        if spec is None:
            return output
        sharding = NamedSharding(self.mesh, spec)
        fitting = [x for x in jax.tree.leaves(output) if getattr(x, "ndim", -1) >= len(spec)]
        if not fitting:
            shapes = [getattr(x, "shape", type(x).__name__) for x in jax.tree.leaves(output)]
            raise ValueError(
                f"the rule for the output of {path or 'the model'} is output{tuple(spec)}, an entry for each "
                f"dimension, but the output is {shapes}: no array has {len(spec)} dimensions"
            )

        def one(leaf: Any) -> Any:
            fits = getattr(leaf, "ndim", -1) >= len(spec)
            return constrained(leaf, sharding) if fits else leaf

        return jax.tree.map(one, output)

    def within(self, path: str, outer: Layout, inner: Layout) -> "Placement":
        """Return the placement of a part, by its own paths, and as one layer of a stack sees it.

        Args:
            path: of the part.
            outer: the layout that this placement's paths are of.
            inner: the part's own.
        """
        stacked = len(outer.module_sizes.get(path, ()))
        arrays = {}
        for own, spec in inner.specs.items():
            one = self.arrays.get(outer.first_path.get(id(spec), ""))
            if one is not None:
                arrays[own] = _of_one_layer(one, stacked)
        prefix = f"{path}." if path else ""
        outputs = {
            below.removeprefix(prefix): spec
            for below, spec in self.outputs.items()
            if below.startswith(prefix) and below != path
        }
        return replace(self, arrays=arrays, outputs=outputs)

    def gathered_before(self, layout: Layout) -> "Placement":
        """Return the placement of a part whose arrays have been gathered, except those of stacks within it."""
        arrays = {
            path: one if layout.sizes[path] else one._replace(stored=one.computed)
            for path, one in self.arrays.items()
        }
        return replace(self, arrays=arrays)

    def __deepcopy__(self, memo: Any) -> "Placement":
        """Return itself: it never changes, and its devices cannot be copied."""
        return self

    def __reduce__(self) -> Any:
        """Raise: devices are those of one process."""
        raise TypeError(
            "a sharded model names the devices of this process, which cannot be pickled: pickle net.module and the "
            "rules, and call parallel.shard where they are loaded"
        )

    def describe(self) -> str:
        """Tell of each array its shape, its place, its bytes on a device, and the pattern that says so.

        Example:
            >>> net = fn.functionalize(nn.Linear(64, 64))
            >>> mesh = fn.parallel.mesh(data=1, devices=jax.devices()[:1])
            >>> print(fn.parallel.shard(net, mesh, {"weight": ("data", None)}).placement.describe())
            array   shape     place      bytes on a device  pattern
            weight  (64, 64)  ('data',)             16,384  'weight'
            bias    (64,)     whole                    256
            total                                   16,640
        """
        rows = [("array", "shape", "place", "bytes on a device", "pattern")]
        total = 0
        for path, one in self.arrays.items():
            size = bytes_per_device(one.shape, one.dtype, self.sharding(path))
            total += size
            place = _shown(one)
            pattern = repr(one.pattern) if one.pattern else ""
            rows.append((path, str(tuple(one.shape)), place, f"{size:,}", pattern))
        rows.append(("total", "", "", f"{total:,}", ""))
        for path, spec in self.outputs.items():
            rows.append((path or "the model", "output", str(tuple(spec)), "", ""))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip()
            for a, b, c, d, e in rows
        )


def _of_one_layer(one: ShardedArray, stacked: int) -> ShardedArray:
    stored, computed = (PartitionSpec(*spec[stacked:]) for spec in (one.stored, one.computed))
    return one._replace(shape=one.shape[stacked:], stored=stored, computed=computed)


def _shown(one: ShardedArray) -> str:
    if not any(one.stored):
        return "whole"
    place = str(tuple(one.stored))
    return place if one.stored == one.computed else f"{place}, gathered to {tuple(one.computed)}"
