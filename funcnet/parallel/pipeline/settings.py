"""What a pipeline is told once: its mesh, its microbatches, and which arguments belong to rows of the batch."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_count, check_positive
from funcnet.parallel.pipeline.microbatches import cut_batch, is_array

__all__ = ["PipelineSettings", "as_names", "parameter_names"]


@dataclass(frozen=True)
class PipelineSettings:
    """How an nn.Repeat runs as a pipeline.

    Attributes:
        mesh: whose axis the stages lie on; its other axes stay as they are.
        axis: the name of that axis.
        microbatches: how many parts a batch is cut into.
        batched: names of further arguments of the block with a row for each row of the batch.
        shared: names of those that every microbatch is given whole.
        rows: names of mesh axes over which the rows of a microbatch are divided, and pass through on their own.
    """

    mesh: Mesh
    axis: str
    microbatches: int
    batched: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @property
    def stages(self) -> int:
        """How many stages there are: as many as the mesh has devices along the axis."""
        return self.mesh.shape[self.axis]

    @property
    def parts(self) -> int:
        """Into how many parts the rows of a microbatch are divided."""
        return math.prod(self.mesh.shape[axis] for axis in self.rows)

    @property
    def of_stages(self) -> PartitionSpec:
        """Arrays of which each stage has a part."""
        return PartitionSpec(self.axis)

    @property
    def of_microbatches(self) -> PartitionSpec:
        """Arrays of microbatches and their rows."""
        return PartitionSpec(None, self.rows) if self.rows else PartitionSpec()

    @property
    def of_both(self) -> PartitionSpec:
        """What each stage has of every microbatch, each part of its own rows."""
        return PartitionSpec(self.axis, None, self.rows) if self.rows else self.of_stages

    @property
    def of_aux(self) -> PartitionSpec:
        """What each stage has of every microbatch, one after another where there are parts."""
        return PartitionSpec(self.axis, self.rows) if self.rows else self.of_stages

    def number(self, micro: Array) -> Array:
        """Count microbatches, where each part of the rows counts as one."""
        return micro * self.parts + jax.lax.axis_index(self.rows) if self.rows else micro

    def cut(self, name: str, tree: PyTree) -> PyTree:
        """Give each leaf a leading axis of microbatches; see `cut_batch`."""
        return cut_batch(name, tree, self.microbatches, self.parts)

    def check(self, path: str, block: Any, n: int) -> None:
        """Raise for settings that do not fit a Repeat of ``n`` blocks."""
        for axis in (self.axis, *self.rows):
            if axis not in self.mesh.shape:
                raise ValueError(
                    f"the mesh has no axis {axis!r}, only {', '.join(self.mesh.axis_names)}: write "
                    f"parallel.mesh(data=-1, {axis}=4), or name another, that of the stages by axis="
                )
        if AxisType.Explicit in self.mesh.axis_types:
            raise ValueError(
                "a pipeline leaves all axes but that of its stages to XLA, and needs a mesh with automatic axes: "
                "parallel.mesh(data=-1, stage=4); this one has explicit axes, jax.make_mesh's default"
            )
        if self.axis in self.rows:
            raise ValueError(f"axis {self.axis!r} holds the stages; rows= names others")
        check_count("microbatches", self.microbatches)
        check_positive("microbatches", self.microbatches)
        if n % self.stages:
            raise ValueError(
                f"{path or 'the nn.Repeat'} has {n} blocks, which {self.stages} stages (axis {self.axis!r}) do not "
                f"divide: each stage holds as many blocks as every other; give n a multiple of {self.stages}"
            )
        names, catches_all = parameter_names(block)
        both = set(self.batched) & set(self.shared)
        unknown = [name for name in (*self.batched, *self.shared) if name not in names]
        if both or (unknown and not catches_all):
            wrong = sorted(both) or unknown
            why = "both batched and shared" if both else f"no argument of {type(block).__name__}"
            raise ValueError(f"{', '.join(wrong)}: {why}; its arguments are {', '.join(names)}")

    def cuts(self, block: Any, args: Any, kwargs: Any, rows: int) -> list[bool]:
        """Say for each leaf of ``(args, kwargs)`` whether it is cut into microbatches.

        Raises:
            ValueError: an argument may be either, and nobody said which; or is no batch and should be.
        """
        names = parameter_names(block)[0][1:]
        named = [(names[i] if i < len(names) else f"{i + 1}", arg) for i, arg in enumerate(args)]
        named += sorted(kwargs.items())  # as jax.tree orders the leaves of a dict
        return [self._cut(name, leaf, rows) for name, arg in named for leaf in jax.tree.leaves(arg)]

    def _cut(self, name: str, leaf: Any, rows: int) -> bool:
        shape = tuple(leaf.shape) if is_array(leaf) else ()
        looks_batched = bool(shape) and shape[0] == rows
        if name in self.batched and not looks_batched:
            raise ValueError(
                f"argument {name!r} was named in batched=, so its leading axis must have {rows} rows, as the input's; "
                f"got {f'shape {shape}' if is_array(leaf) else repr(leaf)}"
            )
        if looks_batched and name not in (*self.batched, *self.shared):
            raise ValueError(
                f"argument {name!r} of shape {shape} may have a row for each of the batch's {rows}, or may be meant "
                f"for all of them: say which by parallel.pipeline(..., batched=({name!r},)) or shared=({name!r},)"
            )
        return name in self.batched


def as_names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def parameter_names(call: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return the names of a call's arguments, and whether it takes others too."""
    parameters = inspect.signature(call).parameters.values()
    some = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return some, len(some) < len(parameters)
