"""What a name in single backticks means: a page, a method on it, another project's page, or a name that has none."""

import builtins
import inspect
import re
from functools import cache

from docs.generation.assemble import ROOT
from docs.generation.names import PublicName, resolve
from docs.generation.reference import source
from docs.generation.reference.docstring import parse
from docs.generation.reference.members import method_names
from docs.generation.reference.signature import signature

__all__ = ["elsewhere", "find", "is_known"]

SHORT = {"jnp": "jax.numpy", "np": "numpy", "lax": "jax.lax"}
TYPES = {"Mesh": "jax.sharding.Mesh", "NamedSharding": "jax.sharding.NamedSharding"}

PAGES = {
    r"jax\.[\w.]+": "https://docs.jax.dev/en/latest/_autosummary/{}.html",
    r"torch\.[\w.]+": "https://docs.pytorch.org/docs/stable/generated/{}.html",
    r"numpy\.[\w.]+": "https://numpy.org/doc/stable/reference/generated/{}.html",
}
"""Where a project has the page of a name."""


def find(written: str, here: PublicName | None = None) -> tuple[PublicName | None, str]:
    """Find the public name that is meant, and the anchor of a method on its page.

    Args:
        written: ``Linear``, ``nn.Linear``, ``TrainState.create``, ``compute``.
        here: in whose docstring it is written.
    """
    if here and written in method_names(here):
        return here, f"#{here.short}.{written}"
    if found := resolve(written, here.namespace if here else ""):
        return found, ""
    owner, _, member = written.rpartition(".")
    if owner and (found := resolve(owner, here.namespace if here else "")):
        if member in method_names(found):
            return found, f"#{found.short}.{member}"
        if found.kind == "class" and has_attribute(found.value, member):
            return found, ""
    return None, ""


def has_attribute(cls: type, name: str) -> bool:
    """Tell whether a class has an attribute, or declares or documents one."""
    declared = any(name in inspect.get_annotations(c) for c in cls.__mro__)
    return hasattr(cls, name) or declared or f"    {name}:" in (cls.__doc__ or "")


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
        found |= {
            dotted,
            dotted.removeprefix("funcnet."),
            path.relative_to(ROOT).as_posix(),
            path.name,
        }
    return found
