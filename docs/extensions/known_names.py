"""Names that are no pages of this site: other projects' by the patterns of their pages, arguments, files, built-ins."""

import builtins
import importlib.util
import inspect
import re
from functools import cache

from docs.generation.assemble import ROOT
from docs.generation.names import PublicName
from docs.generation.reference import source
from docs.generation.reference.docstring import parse
from docs.generation.reference.signature import signature

__all__ = ["elsewhere", "is_known"]

SHORT = {"jnp": "jax.numpy", "np": "numpy", "lax": "jax.lax"}
TYPES = {"Mesh": "jax.sharding.Mesh", "NamedSharding": "jax.sharding.NamedSharding"}

PAGES = {
    r"jax\.[\w.]+": "https://docs.jax.dev/en/latest/_autosummary/{}.html",
    r"torch\.[\w.]+": "https://docs.pytorch.org/docs/stable/generated/{}.html",
    r"numpy\.[\w.]+": "https://numpy.org/doc/stable/reference/generated/{}.html",
}
"""Where a project has the page of a name."""


def elsewhere(name: str) -> str | None:
    """Give the page of a name of JAX, NumPy or PyTorch, by their pattern."""
    first, _, rest = TYPES.get(name, name).partition(".")
    full = f"{SHORT.get(first, first)}.{rest}"
    for pattern, url in PAGES.items():
        if rest and re.fullmatch(pattern, full):
            return url.format(full)
    return None


def is_known(name: str, here: PublicName | None) -> bool:
    """Tell whether a name needs no link: an argument of what is documented, a built-in, a file of the package."""
    if hasattr(builtins, name) or name in _modules():
        return True
    return here is not None and name in _own_names(here)


@cache
def _own_names(here: PublicName) -> set[str]:
    """Collect what a docstring documents itself: arguments, attributes."""
    doc = parse(inspect.getdoc(here.value) or "")
    told = {n.strip("*") for rows in doc.lists.values() for e in rows for n in e.names}
    found = signature(here.value) if here.kind in {"class", "function"} else None
    told |= {a.name.strip("*") for a in found.arguments} if found else set()
    if here.kind == "class":
        told |= set(source.annotations(here.value)) | set(dir(here.value))
    return told


@cache
def _modules() -> set[str]:
    """List the modules of the package, by dotted name with and without it, and by file name."""
    found = set()
    for path in (ROOT / "funcnet").rglob("*.py"):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found |= {dotted, dotted.removeprefix("funcnet."), path.relative_to(ROOT).as_posix(), path.name}
    return found


_ = importlib.util
