"""The page of one public name."""

import ast
import inspect
import re
from pathlib import Path

from docs.generation.names import FLAT, PublicName, short_path
from docs.generation.pictures import picture_of
from docs.generation.reference import source
from docs.generation.reference.docstring import Docstring, parse
from docs.generation.reference.examples import example
from docs.generation.reference.indexes import group_of
from docs.generation.reference.markup import heading, indented, sections
from docs.generation.reference.members import bases, fields, methods
from docs.generation.reference.related import pytorch_names, see_also
from docs.generation.reference.signature import signature
from docs.generation.repository import ROOT

__all__ = ["docstring_of", "page"]

STEP = " › "  # noqa: RUF001
PYTORCH = r"https://docs\.pytorch\.org/\S+/generated/\S+"
"""A reference of which the link to PyTorch's name says all."""


def docstring_of(name: PublicName) -> Docstring:
    """Read the docstring of a name: of a constant, the string below it; a layer's attributes may be its base's."""
    if name.kind == "data":
        return parse(source.constant_docstring(name))
    doc = parse(inspect.getdoc(name.value) or "")
    for base in name.value.__mro__[1:] if name.kind == "class" else ():
        inherited = parse(inspect.cleandoc(vars(base).get("__doc__") or "")).lists
        if not doc.lists.get("Attributes") and base.__module__.startswith("funcnet.nn."):
            doc.lists["Attributes"] = inherited.get("Attributes", [])
    return doc


def page(name: PublicName) -> str:
    """Write the page of a name."""
    doc = docstring_of(name)
    shown = [
        ":orphan:",
        heading(name.short, "="),
        f".. container:: reference-place\n\n{indented(_place(name))}",
        f".. rst-class:: reference-summary\n\n{doc.summary}",
        f".. code-block:: python\n   :class: reference-import\n\n   {_import(name)}",
        _object(name),
        _notes(name, doc),
        doc.body,
        picture_of(name.path) or "",
        *sections(doc, name.value, fields(name, doc)),
        example(doc.example, name),
        methods(name),
        see_also(name, doc),
        _reference(doc),
    ]
    return "\n\n".join(part for part in shown if part) + "\n"


def _place(name: PublicName) -> str:
    """Say where one is, with links: Reference › nn › convolution; and where the source is."""
    steps = [":doc:`Reference </reference/index>`"]
    parts = name.namespace.split(".")
    homes = [".".join(parts[: i + 1]) for i in range(0 if len(parts) == 1 else 1, len(parts))]
    for home in homes:
        folder = short_path(home).replace(".", "/")
        steps.append(f":doc:`{short_path(home)} </reference/{folder}/index>`")
    group = group_of(name)
    if group.titled:
        steps.append(f":ref:`{group.title} <{group.label}>`")
    return f"{STEP.join(steps)}\n\n:source:`{source.place(name)}`"


def _import(name: PublicName) -> str:
    root, *_ = name.short.split(".")
    whole = {"fn": "import funcnet as fn", "F": "from funcnet import functional as F"}
    return whole.get(root, f"from funcnet import {root}")


def _object(name: PublicName) -> str:
    """Write the signature."""
    if name.kind == "data":
        return f".. py:data:: {name.short}\n   :canonical: {name.path}{_value(name)}"
    found = None if name.kind == "exception" else signature(name.value)
    return f".. py:{name.kind}:: {name.short}{found or ''}\n   :canonical: {name.path}"


def _value(name: PublicName) -> str:
    """Write a constant's value: behind its name where it fits a line, else as in the source below it."""
    _, statement = source.constant(name)
    text = ast.unparse(statement.value) if statement.value else ""
    if len(text) < 80:
        return f"\n   :value: {text}"
    lines = Path(ROOT / source.place(name).file).read_text().splitlines()
    shown = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
    return f"\n\n   .. code-block:: python\n\n{indented(shown, 6)}"


def _notes(name: PublicName, doc: Docstring) -> str:
    """Write what a reader should know besides: bases, other names, the name in PyTorch."""
    lines = []
    if based := bases(name):
        lines.append(f"Based on {', '.join(f':py:obj:`{b}`' for b in based)}.")
    if name.also:
        lines.append(f"Also as {', '.join(f'``{_other(a)}``' for a in name.also)}.")
    if torch := pytorch_names(doc):
        links = ", ".join(f"`{t} <{url}>`__" for t, url in torch.items())
        lines.append(f"In PyTorch: {links}.")
    return f".. rst-class:: reference-notes\n\n{' '.join(lines)}" if lines else ""


def _other(path: str) -> str:
    """Write another name, from its root: ``fn.module.Module``, ``nn.Parameter``."""
    flat = path.rpartition(".")[0] in FLAT
    return f"fn.{path.removeprefix('funcnet.')}" if flat else short_path(path)


def _reference(doc: Docstring) -> str:
    """Write the papers and pages that a docstring follows."""
    if not doc.reference or re.fullmatch(PYTORCH, doc.reference):
        return ""
    return f"{heading('Reference', '-')}\n\n{doc.reference}"
