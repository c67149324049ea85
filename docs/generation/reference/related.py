"""What a reader may look for next: neighbours, the layer of a function, the function of a layer, PyTorch's name."""

import inspect
import re
from collections.abc import Iterable
from functools import cache

from docs.generation.names import PublicName, public_names
from docs.generation.reference import source
from docs.generation.reference.docstring import Docstring, parse
from docs.generation.reference.markup import heading, row, table

__all__ = ["first_line", "pytorch_names", "see_also", "twin"]

PAGE = "https://docs.pytorch.org/docs/stable/generated/{}.html"
NEIGHBOURS = 8


def pytorch_names(doc: Docstring) -> dict[str, str]:
    """Find the names that a docstring's reference gives in PyTorch, with their pages."""
    found = re.findall(r"generated/(torch[\w.]+?)\.html", doc.reference)
    found += re.findall(r"``(torch\.[\w.]+)``", doc.reference)
    return {name: PAGE.format(name) for name in dict.fromkeys(found)}


def see_also(name: PublicName, doc: Docstring) -> str:
    """Write the section of related names."""
    found = [n for n in (twin(name),) if n]
    found += [n for n in neighbours(name) if n not in found][: NEIGHBOURS - len(found)]
    if not found:
        return ""
    rows = "\n".join(row(f":py:obj:`{n.short}`", first_line(n)) for n in found)
    return f"{heading('See also', '-')}\n\n{table(rows)}"


def twin(name: PublicName) -> PublicName | None:
    """Find the function of a layer, or the layer of a function: `nn.CrossEntropyLoss`, `F.cross_entropy`."""
    other = {"funcnet.nn": "funcnet.functional", "funcnet.functional": "funcnet.nn"}
    if name.namespace not in other or name.kind not in {"class", "function"}:
        return None
    return next(
        (
            n
            for n in public_names()
            if n.namespace == other[name.namespace]
            and n.kind != name.kind
            and _bare(n.name) == _bare(name.name)
        ),
        None,
    )


def neighbours(name: PublicName) -> Iterable[PublicName]:
    """List names of the same file, then of the same room, that are in the same namespace."""
    others = [n for n in _placed(name.namespace) if n is not name]
    file, room = source.place(name).file, source.room(name)
    same_file = [n for n in others if source.place(n).file == file]
    if name.kind == "data":  # of its room most names have nothing to do with it
        return same_file
    return [*same_file, *(n for n in others if source.room(n) == room and n not in same_file)]


@cache
def _placed(namespace: str) -> list[PublicName]:
    kinds = {"module", "data"}
    return [n for n in public_names() if n.namespace == namespace and n.kind not in kinds]


def first_line(name: PublicName) -> str:
    """Give the first paragraph of a name's docstring."""
    text = source.constant_docstring(name) if name.kind == "data" else inspect.getdoc(name.value)
    return parse(text or "").summary


def _bare(name: str) -> str:
    return name.lower().replace("_", "").removesuffix("loss")
