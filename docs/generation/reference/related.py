"""What a reader may look for next: neighbours, the layer of a function, the function of a layer, PyTorch's name."""

import re
from collections.abc import Iterable

from docs.generation.names import PublicName, public_names
from docs.generation.reference import source
from docs.generation.reference.docstring import Docstring
from docs.generation.reference.markup import heading

__all__ = ["pytorch_names", "see_also", "twin"]

TORCH = re.compile(r"\b(torch(?:\.\w+)+?)(?:\.html)?(?![\w.]*\w)")
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
    rows = [f"- :py:obj:`{n.short}`" for n in found]
    return f"{heading('See also', '-')}\n\n.. rst-class:: reference-related\n\n" + "\n".join(rows)


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
    if name.kind == "data":
        return []
    others = [
        n
        for n in public_names()
        if n.namespace == name.namespace and n != name and n.kind not in {"module", "data"}
    ]
    file = source.place(name).file
    same_file = [n for n in others if source.place(n).file == file]
    same_room = [n for n in others if source.room(n) == source.room(name) and n not in same_file]
    return [*same_file, *same_room]


def _bare(name: str) -> str:
    return name.lower().replace("_", "").removesuffix("loss")
