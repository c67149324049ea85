"""Saved: one step of a run on disk."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from funcnet.checkpoint.runs.manifest import Manifest
from funcnet.checkpoint.runs.pieces import find_arrays
from funcnet.checkpoint.trees.loading import SavedTree
from funcnet.checkpoint.trees.pieced_array import PiecedArray
from funcnet.core.aliases import PyTree

__all__ = ["Saved", "damage_in", "open_saved"]


@dataclass(frozen=True)
class Saved:
    """One step of a run on disk, whole as far as its files' sizes and headers tell; nothing of it is read yet.

    Attributes:
        step: the step.
        path: its folder.
        metrics: the numbers that were saved beside it.
        metadata: what else was saved beside it.
        when: it was written.

    Example:
        >>> with fn.checkpoint.Checkpointer("runs/a") as checkpointer:
        ...     checkpointer.save(10, {"w": jnp.ones(2)}, metrics={"loss": 0.5})
        ...     saved = checkpointer.latest()
        >>> saved.step, saved.metrics, saved.load()
        (10, {'loss': 0.5}, {'w': Array([1., 1.], dtype=float32)})
    """

    step: int
    path: Path
    metrics: dict[str, float]
    metadata: dict[str, Any]
    when: datetime
    _tree: SavedTree = field(repr=False, compare=False)

    @property
    def names(self) -> list[str]:
        """The dotted names of everything in the tree, such as ``run.params.weight``."""
        return [*self._tree.leaves]

    def load(
        self,
        like: PyTree = None,
        *,
        select: str | Iterable[str] | None = None,
        strict: bool = True,
        classes: Iterable[type] = (),
        dtype: Any = None,
    ) -> PyTree:
        """Read the tree, as it was or into a template; arguments, results and errors are those of `checkpoint.load`.

        The arrays go where the template's are, whatever the number of devices and processes that saved them.
        """
        return self._tree.load(like, select, strict, classes, dtype)


def open_saved(path: Path) -> Saved:
    """Open a step's folder.

    Raises:
        ValueError: it is not whole; the message says what is wrong.
    """
    manifest = Manifest.read(path)
    tree = SavedTree(str(path), manifest.tree, _arrays_of(path, manifest).get)
    when = datetime.fromisoformat(manifest.when)
    return Saved(manifest.step, path, manifest.metrics, manifest.metadata, when, tree)


def _arrays_of(path: Path, manifest: Manifest) -> dict[str, PiecedArray]:
    try:
        return find_arrays(path, [*manifest.files], manifest.pieces)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its pieces cannot be found ({error})") from None


def damage_in(path: Path) -> str | None:
    """Read all numbers of a step; say what is damaged, or None."""
    try:
        manifest = Manifest.read(path)
        for array in _arrays_of(path, manifest).values():
            for piece in array.pieces:
                piece.array.read()
    except (ValueError, OSError) as error:
        return str(error)
    return None
