"""What a pipeline is told once: its mesh, its microbatches, and which arguments belong to rows of the batch."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from funcnet.core.checks import check_count, check_positive
from funcnet.parallel.pipeline.microbatches import is_array

__all__ = ["PipelineSettings", "parameter_names"]


@dataclass(frozen=True)
class PipelineSettings:
    """How an nn.Repeat runs as a pipeline.

    Attributes:
        mesh: whose axis the stages lie on; its other axes stay as they are.
        axis: the name of that axis.
        microbatches: how many parts a batch is cut into.
        batched: names of further arguments of the block with a row for each row of the batch.
        shared: names of those that every microbatch is given whole.
    """

    mesh: Mesh
    axis: str
    microbatches: int
    batched: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def stages(self) -> int:
        """How many stages there are: as many as the mesh has devices along the axis."""
        return self.mesh.shape[self.axis]

    def check(self, path: str, block: Any, n: int) -> None:
        """Raise for settings that do not fit a Repeat of ``n`` blocks."""
        if self.axis not in self.mesh.shape:
            raise ValueError(
                f"the mesh has no axis {self.axis!r}, only {', '.join(self.mesh.axis_names)}: write "
                f"parallel.mesh(data=-1, {self.axis}=4), or name the axis of the stages by axis="
            )
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


def parameter_names(call: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return the names of a call's arguments, and whether it takes others too."""
    parameters = inspect.signature(call).parameters.values()
    some = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return some, len(some) < len(parameters)
