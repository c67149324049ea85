"""Make the reference: a page for each public name, from its docstring, and an index for each namespace."""

import inspect

from docs.generation.names import PublicName, public_names

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Make the pages, by path."""
    found: dict[str, str] = {}
    homes: dict[str, list[PublicName]] = {}
    for name in public_names():
        if inspect.isclass(name.value) or inspect.isfunction(name.value):
            homes.setdefault(name.namespace, []).append(name)
            found[f"{_place(name)}.rst"] = _page(name)
    for home, names in homes.items():
        rows = "\n".join(f"- :py:obj:`{n.short} <{n.path}>`" for n in names)
        found[f"reference/{home}.rst"] = f"{home}\n{'=' * len(home)}\n\n{rows}\n"
    listed = "\n".join(f"   {home}" for home in homes)
    found["reference/index.rst"] = f"Reference\n=========\n\n.. toctree::\n\n{listed}\n"
    return found


def _place(name: PublicName) -> str:
    return f"reference/{name.namespace}/{name.name}"


def _page(name: PublicName) -> str:
    kind = "autoclass" if inspect.isclass(name.value) else "autofunction"
    return f":orphan:\n\n{name.short}\n{'=' * len(name.short)}\n\n.. {kind}:: {name.path}\n"
