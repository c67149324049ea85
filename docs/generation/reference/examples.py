"""Examples as they are copied: with the imports that they need."""

import ast
import builtins
import doctest
import inspect
import re
import sys

from docs.generation.names import PublicName, name_of, resolve
from docs.generation.reference import source
from docs.generation.reference.markup import heading, indented

__all__ = ["example", "imports", "unknown_names"]

IMPORTS = {
    "jax": "import jax",
    "jnp": "import jax.numpy as jnp",
    "np": "import numpy as np",
    "fn": "import funcnet as fn",
    "nn": "from funcnet import nn",
    "F": "from funcnet import functional as F",
    "data": "from funcnet import data",
    "optim": "from funcnet import optim",
    "transforms": "from funcnet import transforms",
}
"""What the doctests' namespace holds (``tests/meta/test_docstrings.py``), in the order of its lines."""


def example(text: str, name: PublicName) -> str:
    """Write the section of an example: its code with its output, runnable where it is pasted."""
    if not text:
        return ""
    lines = [f">>> {line}" for line in imports(text, name)]
    shown: list[str] = [heading("Example", "-")]
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(">>>"):
            code = re.sub(r"\s*# doctest: .*", "", block)
            shown.append(f".. code-block:: pycon\n\n{indented(chr(10).join([*lines, code]))}")
            lines = []
        else:
            shown.append(block)
    return "\n\n".join(shown)


def imports(text: str, name: PublicName) -> list[str]:
    """List the imports that an example needs."""
    free = _free_names(text)
    found = [line for key, line in IMPORTS.items() if key in free]
    for key in sorted(free - set(IMPORTS)):
        value = _in_module(name, key)
        if inspect.ismodule(value) and value.__name__ == key:
            found.append(f"import {key}")
            continue
        public = name_of(value)
        if public or resolve(key, name.namespace):
            home = (public or name).namespace
            found.append(f"from {home} import {key}")
    return found


def unknown_names(text: str, name: PublicName) -> list[str]:
    """List what an example uses and a reader who pastes it does not have."""
    said = " ".join(imports(text, name))
    return sorted(n for n in _free_names(text) if not re.search(rf"\b{n}$|\b{n}\b", said))


def _in_module(name: PublicName, key: str) -> object:
    if name.kind == "data":
        return None
    return vars(sys.modules[inspect.unwrap(name.value).__module__]).get(key, source)


def _free_names(text: str) -> set[str]:
    """Find the names that an example reads before it gives them a value."""
    parts = doctest.DocTestParser().get_examples(text)
    nodes = [n for p in parts for n in ast.walk(ast.parse(p.source))]
    bound = set(dir(builtins))
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) or (
            isinstance(node, ast.ExceptHandler) and node.name
        ):
            bound.add(node.name)
    return {n.id for n in nodes if isinstance(n, ast.Name)} - bound
