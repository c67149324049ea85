"""A described tree and its arrays become a tree again: as it was, or as a template is."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax.numpy as jnp

from funcnet.checkpoint.trees.containers import fold_tree
from funcnet.checkpoint.trees.described import leaves_described
from funcnet.checkpoint.trees.pieced_array import PiecedArray
from funcnet.checkpoint.trees.rebuilt import ABSENT, rebuild_tree
from funcnet.checkpoint.trees.stored_leaf import StoredLeaf
from funcnet.checkpoint.trees.template import Maker, cast_floats, fit_leaf
from funcnet.core.errors import TreeMismatchError
from funcnet.core.paths import matches
from funcnet.core.paths import select as select_paths
from funcnet.module.layout import mismatch_message

__all__ = ["SavedTree", "make_leaves"]

_AHEAD = 2
"""How many arrays are read ahead, in threads: copying and summing leave Python's lock alone."""


class SavedTree:
    """A tree in files: its structure, and its arrays, none of them read yet.

    Args:
        origin: where it lies, for messages.
        structure: what `take_apart` described.
        find: gives the array of a name.

    Raises:
        ValueError: the structure cannot be read, or names an array that is not there.
    """

    def __init__(
        self, origin: str, structure: Any, find: Callable[[str], PiecedArray | None]
    ) -> None:
        self.origin, self.structure = origin, structure
        self._shared: dict[str, StoredLeaf] = {}
        try:
            described = leaves_described(structure)
            self.leaves = {name: self._leaf(value, find) for name, value in described.items()}
        except KeyError as error:
            raise ValueError(
                f"{origin} is damaged: an array is described without {error}"
            ) from None
        except ValueError as error:
            place = "" if str(error).startswith(origin) else f"{origin}: "
            raise ValueError(f"{place}{error}") from None

    def _leaf(self, value: Any, find: Callable[[str], PiecedArray | None]) -> Any:
        if not isinstance(value, dict):
            return value
        name = str(value["array"])
        if name not in self._shared:
            source = find(name)
            if source is None:
                raise ValueError(f"it is damaged: there is no array {name}")
            self._shared[name] = StoredLeaf(source, value)
        return self._shared[name]

    def load(
        self, like: Any, select: Any, strict: bool, classes: Iterable[type], dtype: Any
    ) -> Any:
        """Read the tree; see `checkpoint.load`."""
        if dtype == "like" and like is None:
            raise ValueError('dtype="like" casts to the dtypes of a template: pass it, like=tree')
        dtype = dtype if dtype is None or dtype == "like" else jnp.dtype(dtype)
        if like is None:
            chosen = self.leaves if select is None else select_paths(select, self.leaves)
            made = make_leaves(
                {n: self._maker(self.leaves[n], dtype) for n in self.leaves if n in chosen}
            )
            return rebuild_tree(
                self.structure, lambda name, _: made.get(name, ABSENT), classes, _chosen(select)
            )
        return self._load_like(like, select, strict, dtype)

    def _maker(self, leaf: Any, dtype: Any) -> tuple[Any, Maker]:
        """Say how to read a leaf as it was saved, and what tells it from others that are read."""
        if not isinstance(leaf, StoredLeaf):
            return None, Maker(lambda _: leaf)
        target = None if dtype is None else cast_floats(leaf, dtype)
        return id(leaf), Maker(leaf.made, lambda: leaf.host(dtype=target))

    def _load_like(self, like: Any, select: Any, strict: bool, dtype: Any) -> Any:
        template: dict[str, Any] = {}
        fold_tree(like, template.__setitem__, lambda opened, children: None)
        chosen: Any = {**template, **self.leaves}
        if select is not None:
            chosen = select_paths(select, chosen)
        missing = [name for name in template if name in chosen and name not in self.leaves]
        unexpected = [name for name in self.leaves if name in chosen and name not in template]
        makers: dict[str, tuple[Any, Maker]] = {}
        wrong: list[str] = []
        for name, leaf in template.items():
            if name not in chosen or name not in self.leaves:
                continue
            stored = self.leaves[name]
            found = fit_leaf(name, leaf, stored, dtype)
            if isinstance(found, str):
                wrong.append(f"  {name} is {found}")
            else:
                makers[name] = _identity(stored, leaf), found
        self._report(missing, unexpected, wrong, strict)
        made = make_leaves(makers)
        return fold_tree(
            like, lambda name, leaf: made.get(name, leaf), lambda opened, new: opened.rebuild(new)
        )

    def _report(
        self, missing: list[str], unexpected: list[str], wrong: list[str], strict: bool
    ) -> None:
        if not (missing or unexpected or wrong):
            return
        listed = mismatch_message(f"{self.origin} does not fit the template", missing, unexpected)
        message = "\n".join([listed, *wrong])
        if strict:
            raise TreeMismatchError(message)
        warnings.warn(
            f"{message}\nWhat fits was loaded, the rest is as in the template.",
            UserWarning,
            stacklevel=4,
        )


def _chosen(select: Any) -> Callable[[str], bool] | None:
    if select is None:
        return None
    patterns = [select] if isinstance(select, str) else [*select]
    return lambda name: any(matches(pattern, name) for pattern in patterns)


def _identity(stored: Any, like: Any) -> Any:
    """Tell what is read once: an array that was shared, for places that ask for the same kind of it."""
    if not isinstance(stored, StoredLeaf):
        return None
    asked = (type(like), getattr(like, "dtype", None), getattr(like, "sharding", None))
    return id(stored), asked, getattr(like, "committed", None)


def make_leaves(makers: Mapping[str, tuple[Any, Maker]]) -> dict[str, Any]:
    """Make leaves by name; those that have one identity, which is not None, are made once and shared.

    >>> make_leaves({"a": (1, Maker(list, lambda: "xy")), "b": (1, Maker(list)), "c": (None, Maker(str))})
    {'a': ['x', 'y'], 'b': ['x', 'y'], 'c': 'None'}
    """
    once: dict[Any, Any] = {}
    first: dict[Any, Maker] = {}
    for identity, maker in makers.values():
        if identity is not None:
            first.setdefault(identity, maker)
    waiting: deque[tuple[Any, Maker, Future[Any]]] = deque()

    def finish() -> None:
        identity, maker, numbers = waiting.popleft()
        once[identity] = maker.place(numbers.result())

    with ThreadPoolExecutor(_AHEAD) as pool:
        for identity, maker in first.items():
            waiting.append((identity, maker, pool.submit(maker.read or _nothing)))
            if len(waiting) > _AHEAD:
                finish()
        while waiting:
            finish()
    return {
        name: maker.place(None) if identity is None else once[identity]
        for name, (identity, maker) in makers.items()
    }


def _nothing() -> None:
    return None
