"""The public names of funcnet, each once: under the name that users write."""

import inspect
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import funcnet as fn
from docs.generation.assemble import ROOT

__all__ = ["FLAT", "PublicName", "name_of", "namespaces", "public_names", "resolve", "short_path"]

SHORT = {"funcnet": "fn", "funcnet.functional": "F"}
"""How a namespace is imported, where not by its last part."""

FLAT = ("funcnet.module", "funcnet.transforms")
"""Namespaces whose names are names of `funcnet` itself, under which users write them."""


@dataclass(frozen=True, eq=False)
class PublicName:
    """One public object.

    Attributes:
        path: the dotted name that users write, in full: ``funcnet.nn.Linear``.
        also: its other names.
        value: the object.
    """

    path: str
    also: tuple[str, ...]
    value: Any

    @property
    def namespace(self) -> str:
        """``funcnet.nn``."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """``Linear``."""
        return self.path.rpartition(".")[2]

    @property
    def short(self) -> str:
        """``nn.Linear``, as users write it."""
        return short_path(self.path)

    @property
    def kind(self) -> str:
        """``module``, ``exception``, ``class``, ``function`` or ``data``."""
        if inspect.ismodule(self.value):
            return "module"
        if inspect.isclass(self.value) and typing.get_origin(self.value) is None:
            return "exception" if issubclass(self.value, BaseException) else "class"
        return "function" if inspect.isroutine(self.value) else "data"

    @property
    def page(self) -> str:
        """Its page's path, without suffix: no two differ by case alone, which not all file systems tell apart.

        Where a class and a function are spelled alike, as ``fn.Ensemble`` and ``fn.ensemble``, the class has
        ``ensemble-class``.
        """
        if self.kind == "module":
            return f"{_folder(self.path)}/index"
        last = self.name
        if last != last.lower() and f"{self.namespace}.{last.lower()}" in _functions():
            last = f"{last.lower()}-class"
        return f"{_folder(self.namespace)}/{last}"


def short_path(path: str) -> str:
    """Shorten a dotted path to what users write: ``funcnet.nn.Linear`` to ``nn.Linear``.

    Example:
        >>> short_path("funcnet.functional.relu"), short_path("funcnet.functional")
        ('F.relu', 'F')
    """
    home, _, last = path.rpartition(".")
    if path in SHORT:
        return SHORT[path]
    if home in SHORT and path not in namespaces():
        return f"{SHORT[home]}.{last}"
    return path.removeprefix("funcnet.")


@cache
def public_names() -> tuple[PublicName, ...]:
    """List what is public, sorted; an object with several names is there once."""
    paths: dict[int, list[str]] = {}
    values: dict[int, Any] = {}
    for path in _listed():
        value = attrgetter(path.removeprefix("funcnet."))(fn)
        values[id(value)] = value
        paths.setdefault(id(value), []).append(path)
    found = []
    for key, names in paths.items():
        first, *also = sorted(names, key=_preferred)
        found.append(PublicName(first, tuple(also), values[key]))
    return tuple(sorted(found, key=lambda name: name.path))


@cache
def _by_value() -> dict[int, PublicName]:
    return {id(name.value): name for name in public_names()}


def name_of(value: Any) -> PublicName | None:
    """Find the public name of an object."""
    found = _by_value().get(id(value))
    return found if found and found.value is value else None


@cache
def namespaces() -> dict[str, Any]:
    """Give the modules that hold public names, by path: ``funcnet``, ``funcnet.nn``, ..."""
    homes = sorted({path.rpartition(".")[0] for path in _listed()})
    return {
        home: attrgetter(home.removeprefix("funcnet."))(fn) if home != "funcnet" else fn
        for home in homes
    }


@cache
def _by_name() -> dict[str, list[PublicName]]:
    """Give what each way of writing a name may stand for: full, short, or the last part alone."""
    found: dict[str, list[PublicName]] = {}
    for name in public_names():
        for path in (name.path, *name.also):
            bare = path.removeprefix("funcnet.")
            for written in {path, short_path(path), bare, f"fn.{bare}"}:
                found.setdefault(written, []).insert(0, name)
            found.setdefault(path.rpartition(".")[2], []).append(name)
    return found


def resolve(written: str, namespace: str = "") -> PublicName | None:
    """Find the public name that a docstring or page means; the same namespace comes first.

    Args:
        written: ``Linear``, ``nn.Linear``, ``funcnet.nn.Linear``, ``metrics.Accuracy``.
        namespace: of the object in whose docstring it is written.

    Example:
        >>> resolve("F.relu").path, resolve("linear", "funcnet.optim.schedules").short
        ('funcnet.functional.relu', 'optim.schedules.linear')
    """
    found = _by_name().get(written, [])
    if not found and "." in written:
        found = [n for n in public_names() if n.path.endswith(f".{written}")]
    return next((n for n in found if n.namespace == namespace), found[0] if found else None)


def _listed() -> Iterable[str]:
    """Read the list that a test holds to be what the package shows: the site has the names that users can rely on."""
    return (ROOT / "tests/meta/public_api.txt").read_text().split()


def _preferred(path: str) -> tuple[bool, int, str]:
    """Order the names of one object: ``nn.Module`` before ``fn.Module``, then the shortest."""
    return not path.startswith("funcnet.nn."), path.count("."), path


def _folder(namespace: str) -> str:
    return f"reference/{short_path(namespace).replace('.', '/')}"


@cache
def _functions() -> set[str]:
    """Give the paths of names that have no capital letters."""
    return {n.path for n in public_names() if n.kind != "module" and n.name == n.name.lower()}
