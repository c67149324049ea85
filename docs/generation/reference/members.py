"""What belongs to a class: its methods, the types of its attributes, its public bases."""

import inspect
from typing import Any

from docs.generation.names import PublicName, name_of
from docs.generation.reference import source
from docs.generation.reference.docstring import Docstring, parse
from docs.generation.reference.markup import heading, indented, sections
from docs.generation.reference.signature import Argument, signature

__all__ = ["bases", "fields", "method_names", "methods"]


def bases(name: PublicName) -> list[str]:
    """List the public classes that a class extends directly or by private ones; built-in exceptions too."""
    if name.kind == "exception":
        return [b.__name__ for b in name.value.__bases__]
    found = [n for b in _ancestors(name.value) if (n := name_of(b))] if name.kind == "class" else []
    return [n.short for n in found[:1]]


def fields(name: PublicName, doc: Docstring) -> dict[str, Argument]:
    """Give the declared types of a class's public attributes, as they are written."""
    cls = name.value
    if name.kind != "class" or not (hasattr(cls, "__dataclass_fields__") or _is_tuple(cls)):
        return {}
    kind = inspect.Parameter.KEYWORD_ONLY
    return {
        field: Argument(field, type_, None, kind)
        for field, (type_, _) in source.annotations(cls).items()
        if not field.startswith("_") and not type_.startswith("ClassVar")
    }


def methods(name: PublicName) -> str:
    """Write the methods and properties of a class; those of its public bases have a page already."""
    if name.kind != "class":
        return ""
    shown = [_method(name, method, _member(name.value, method)) for method in method_names(name)]
    return "\n\n".join([heading("Methods", "-"), *shown]) if shown else ""


def method_names(name: PublicName) -> list[str]:
    """List the methods and properties that a class's page has, in the order of the source."""
    if name.kind != "class":
        return []
    found: dict[str, None] = {}
    for cls in (name.value, *_ancestors(name.value)):
        if cls is not name.value and name_of(cls):
            break
        node = source.definition(cls)
        for key, value in vars(cls).items():
            shown = not key.startswith("_") or key in {
                "__call__",
                "__iter__",
                "__len__",
                "__getitem__",
            }
            callable_ = isinstance(
                value, classmethod | staticmethod | property
            ) or inspect.isfunction(value)
            if isinstance(value, staticmethod) and name_of(value.__func__):
                continue  # a function that has a page: ``nn.ReLU.function``
            if node and shown and callable_ and (inspect.getdoc(value) or key == "__call__"):
                if (
                    key in {"__iter__", "__len__", "__getitem__"}
                    and not parse(inspect.getdoc(value) or "").body
                ):
                    continue
                found.setdefault(key)
    return list(found)


def _method(name: PublicName, method: str, member: Any) -> str:
    kind, function, options = "method", member, ""
    if isinstance(member, property):
        kind, function = "property", member.fget
        node = source.functions(function)
        options = f"\n   :type: {source.written(node.returns)}" if node and node.returns else ""
        signed = ""
    else:
        bound = not isinstance(member, staticmethod)
        options = {classmethod: "\n   :classmethod:", staticmethod: "\n   :staticmethod:"}.get(
            type(member), ""
        )
        function = getattr(member, "__func__", member)
        signed = signature(function, bound) or ""
    doc = parse(inspect.getdoc(function) or "")
    parts = [doc.summary, doc.body, *sections(doc, function, {}, "", kind == "method")]
    if doc.example:
        parts += [heading("Example"), doc.example]
    content = indented("\n\n".join(p for p in parts if p))
    return f".. py:{kind}:: {name.short}.{method}{signed}{options}\n\n{content}"


def _member(cls: type, method: str) -> Any:
    return next(vars(c)[method] for c in cls.__mro__ if method in vars(c))


def _ancestors(cls: type) -> list[type]:
    return [c for c in cls.__mro__[1:] if c.__module__.split(".")[0] == "funcnet"]


def _is_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")
