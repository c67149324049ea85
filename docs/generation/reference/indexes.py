"""Index pages: the public names of a namespace, by rooms."""

import inspect
import sys
from dataclasses import dataclass
from functools import cache

from docs.generation.names import FLAT, PublicName, namespaces, public_names, short_path
from docs.generation.reference import source
from docs.generation.reference.docstring import parse
from docs.generation.reference.markup import heading, row, table
from docs.generation.reference.related import first_line

__all__ = ["Group", "group_of", "groups", "index_pages"]


TITLES = {
    "bleu": "BLEU",
    "f_beta": "F-beta",
    "onnx": "ONNX",
    "per_leaf": "For one array",
    "row_sparse": "Row-sparse gradients",
    "uniform_normal": "Uniform and normal",
    "xavier_kaiming": "Xavier and Kaiming",
}
"""Titles of rooms that are not their names."""


@dataclass(frozen=True)
class Group:
    """Names of one namespace that belong together.

    Attributes:
        namespace: ``funcnet.nn``.
        room: the module that they come from: ``funcnet.nn.convolution``.
        titled: whether the index has a heading for it.
    """

    namespace: str
    room: str
    titled: bool = True

    @property
    def title(self) -> str:
        """``Convolution``."""
        last = self.room.rpartition(".")[2]
        return TITLES.get(last, last.replace("_", " ").capitalize())

    @property
    def label(self) -> str:
        """What links name: ``reference-nn-convolution``."""
        return f"reference-{short_path(self.namespace)}-{self.title}".lower().replace(" ", "-")

    @property
    def text(self) -> str:
        """The first line of the module's docstring."""
        return parse(inspect.getdoc(sys.modules[self.room]) or "").summary


def group_of(name: PublicName) -> Group:
    """Find the group of a name."""
    home = namespaces()[name.namespace].__name__
    room = source.room(name)
    if room == home and name.kind != "data":
        room = inspect.unwrap(name.value).__module__
    own = f"{home}.{room.rpartition('.')[2]}"  # what a namespace shows of another belongs to its room of that name
    return Group(name.namespace, own if own in sys.modules else room, room != home)


@cache
def groups(namespace: str) -> dict[Group, list[PublicName]]:
    """Sort the names of a namespace by groups, those of PyTorch's habit included."""
    found: dict[Group, list[PublicName]] = {}
    for name in public_names():
        if name.namespace == namespace and name.kind != "module":
            found.setdefault(group_of(name), []).append(name)
    return dict(sorted(found.items(), key=lambda pair: pair[0].title))


def index_pages() -> dict[str, str]:
    """Write the index of each namespace, and the index of these."""
    homes = [home for home in namespaces() if home not in FLAT]
    found = {f"{_page(home)}.rst": _index(home, homes) for home in homes}
    return {**found, "reference/index.rst": _contents(homes)}


def _page(home: str) -> str:
    return f"reference/{short_path(home).replace('.', '/')}/index"


def _contents(homes: list[str]) -> str:
    rows = "\n".join(row(f":doc:`{short_path(h)} </{_page(h)}>`", _summary(h)) for h in homes)
    top = [h for h in homes if h.count(".") < 2]
    listed = "\n".join(f"   {short_path(h)} </{_page(h)}>" for h in top)
    return (
        "Reference\n=========\n\n"
        f"{len([n for n in public_names() if n.kind != 'module'])} public names, each on a page of its own: what it is"
        " called with, what it returns, an example with its output, and its source.\n\n"
        f"{table(rows)}\n\n:doc:`/reference/types` says what ``Array``, ``Params``, ``PyTree`` and the other types in"
        f" signatures stand for.\n\n.. toctree::\n   :hidden:\n\n{listed}\n   /reference/types\n"
    )


def _index(home: str, homes: list[str]) -> str:
    name = short_path(home)
    shown = [heading(name, "="), inspect.getdoc(namespaces()[home]) or ""]
    below = [h for h in homes if h.rpartition(".")[0] == home and home != "funcnet"]
    if below:
        listed = "\n".join(f"   {short_path(h)} </{_page(h)}>" for h in below)
        shown.append(
            table(
                "\n".join(row(f":doc:`{short_path(h)} </{_page(h)}>`", _summary(h)) for h in below)
            )
        )
        shown.append(f".. toctree::\n   :hidden:\n\n{listed}")
    for group, names in groups(home).items():
        if group.titled:
            shown += [f".. _{group.label}:", heading(group.title, "-"), group.text]
        shown.append(table("\n".join(row(f":py:obj:`{n.short}`", first_line(n)) for n in names)))
    if others := _elsewhere(home):
        shown += [heading("Also here", "-"), table("\n".join(others))]
    return "\n\n".join(part for part in shown if part) + "\n"


def _elsewhere(home: str) -> list[str]:
    """List the names of a namespace whose page is under another name."""
    return [
        row(f"``{short_path(also)}``", f"is :py:obj:`{n.short}`")
        for n in public_names()
        for also in n.also
        if also.rpartition(".")[0] == home
    ]


def _summary(home: str) -> str:
    return parse(inspect.getdoc(namespaces()[home]) or "").summary
