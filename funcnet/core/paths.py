"""Pytrees by dotted path: ``"layers.0.weight"`` names one leaf everywhere in funcnet.

Dict keys, list positions and attribute names of registered containers become the parts of a path,
joined by dots, so that a path of a parameter tree is also its name in PyTorch's ``state_dict``.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import jax

from funcnet.core.aliases import PyTree

__all__ = ["flatten", "join", "leaves_with_paths", "map_with_path", "matches", "nest", "select"]


def join(*parts: str) -> str:
    """Join parts of a path with dots, leaving out empty ones.

    >>> join("layers", "0", "", "weight")
    'layers.0.weight'
    """
    return ".".join(part for part in parts if part)


def _name(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry).strip(".[]'")


def leaves_with_paths(
    tree: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[str, Any]]:
    """List ``(dotted path, leaf)`` of any pytree, in JAX's order of leaves.

    >>> leaves_with_paths({"layers": [{"weight": 1.0}]})
    [('layers.0.weight', 1.0)]
    """
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return [(join(*map(_name, entries)), leaf) for entries, leaf in pairs]


def map_with_path(function: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """Map ``function(path, leaf, *other_leaves)`` over a pytree.

    >>> map_with_path(lambda path, x: path, {"a": {"b": 1}})
    {'a': {'b': 'a.b'}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda entries, *leaves: function(join(*map(_name, entries)), *leaves), tree, *rest
    )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to one dict keyed by dotted path, in the dicts' own order.

    >>> flatten({"fc": {"weight": 1, "bias": 2}})
    {'fc.weight': 1, 'fc.bias': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = join(prefix, name)
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted paths back into nested dicts: the inverse of `flatten`.

    >>> nest({"fc.weight": 1, "fc.bias": 2})
    {'fc': {'weight': 1, 'bias': 2}}
    """
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def matches(pattern: str, path: str) -> bool:
    """Say whether a dotted path matches a glob; ``*`` also crosses dots.

    >>> matches("*.bias", "layers.0.bias"), matches("head.*", "layers.0.bias")
    (True, False)
    """
    return _compiled(pattern).match(path) is not None


def select(patterns: str | Iterable[str], paths: Iterable[str]) -> set[str]:
    """Return the paths that match a glob or any of several; a glob that matches none raises.

    >>> sorted(select("*.bias", ["fc.bias", "fc.weight"]))
    ['fc.bias']

    Raises:
        ValueError: a pattern matched no path; the message lists the paths there are.
    """
    paths = list(paths)
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = {path for path in paths if matches(pattern, path)}
        if not found:
            shown = ", ".join(paths[:12]) + (", …" if len(paths) > 12 else "")
            raise ValueError(f"pattern {pattern!r} matches no path; there are: {shown or 'none'}")
        chosen |= found
    return chosen
