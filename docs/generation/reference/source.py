"""Where things are defined: their file, their line, and what the source says of their arguments."""

import ast
import copy
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docs.generation.assemble import ROOT
from docs.generation.names import PublicName

__all__ = ["Place", "annotations", "constant", "functions", "place", "room"]


@dataclass(frozen=True)
class Place:
    """A line of a file.

    Attributes:
        file: relative to the repository: ``funcnet/nn/linear.py``.
        line: counted from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        """``funcnet/nn/linear.py:16``."""
        return f"{self.file}:{self.line}"


@cache
def tree(module: str) -> ast.Module:
    """Parse a module's file."""
    return ast.parse(Path(str(sys.modules[module].__file__)).read_text())


@cache
def place(name: PublicName) -> Place:
    """Find where a public name is defined."""
    if name.kind == "module":
        return Place(_file(name.value.__name__), 1)
    if name.kind == "data":
        module, statement = constant(name)
        return Place(_file(module), statement.lineno)
    return place_of(name.value)


def place_of(value: Any) -> Place:
    """Find where a class or function is defined."""
    value = inspect.unwrap(value)
    node = definition(value)
    return Place(_file(value.__module__), node.lineno if node else 1)


@cache
def room(name: PublicName) -> str:
    """Name the module whose docstring says what a name's neighbours have in common.

    The folder that holds its file (``funcnet.nn.convolution``), or the file itself where that lies directly in a
    namespace (``funcnet.nn.linear``).
    """
    module = constant(name)[0] if name.kind == "data" else inspect.unwrap(name.value).__module__
    parts = module.split(".")
    packages = [p for p in _ancestors(parts) if hasattr(sys.modules[p], "__path__")]
    return packages[-1] if len(packages) > 2 else module


@cache
def definition(value: Any) -> ast.ClassDef | ast.FunctionDef | None:
    """Find the statement that defines a class or function; None where a program made it."""
    body: list[ast.stmt] = tree(value.__module__).body
    found = None
    for part in value.__qualname__.split("."):
        found = next((s for s in _statements(body) if getattr(s, "name", None) == part), None)
        if not isinstance(found, ast.ClassDef | ast.FunctionDef):
            return None
        body = found.body
    return found


def constant(name: PublicName) -> tuple[str, ast.Assign | ast.AnnAssign]:
    """Find the module and the statement that give a value its name.

    Raises:
        LookupError: there is none.
    """
    for module in [m for m in sys.modules if m.split(".")[0] == "funcnet"]:
        if vars(sys.modules[module]).get(name.name) is name.value:
            for statement in tree(module).body:
                if name.name in _assigned(statement):
                    assert isinstance(statement, ast.Assign | ast.AnnAssign)
                    return module, statement
    raise LookupError(f"{name.path} is assigned nowhere")


def constant_docstring(name: PublicName) -> str:
    """Read the string that follows a constant's assignment."""
    module, statement = constant(name)
    body = tree(module).body
    after = body[body.index(statement) + 1 :][:1]
    match after:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return inspect.cleandoc(text)
    return ""


def annotations(cls: type) -> dict[str, tuple[str, str | None]]:
    """Give type and default of each annotated field of a class, its bases first, as written."""
    found: dict[str, tuple[str, str | None]] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] != "funcnet":
            continue
        node = definition(base)
        for statement in node.body if node else ():
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                default = ast.unparse(statement.value) if statement.value else None
                found[statement.target.id] = (written(statement.annotation), default)
    return found


def functions(value: Any) -> ast.FunctionDef | None:
    """Find the ``def`` of a function, or of what a class is called with."""
    if not inspect.isclass(value):
        node = definition(inspect.unwrap(value))
        return node if isinstance(node, ast.FunctionDef) else None
    for base in value.__mro__:
        if base.__module__.split(".")[0] != "funcnet":
            continue
        node = definition(base)
        for statement in node.body if node else ():
            if isinstance(statement, ast.FunctionDef) and statement.name in {"__init__", "__new__"}:
                return statement
    return None


def written(annotation: ast.expr | None) -> str:
    """Write an annotation as in the source, without the quotes of names that come later.

    Example:
        >>> written(ast.parse("dict[str, 'Array'] | None", mode="eval").body)
        'dict[str, Array] | None'
    """
    if annotation is None:
        return ""
    return ast.unparse(_Unquoted().visit(copy.deepcopy(annotation)))


class _Unquoted(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return node if ast.unparse(node.value).endswith("Literal") else self.generic_visit(node)  # type: ignore[return-value]


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """List statements, those under an ``if`` or ``try`` too."""
    found = []
    for statement in body:
        found.append(statement)
        for block in ("body", "orelse"):
            if isinstance(statement, ast.If | ast.Try):
                found += _statements(getattr(statement, block, []))
    return found


def _assigned(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Assign(targets=targets):
            return {t.id for t in targets if isinstance(t, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            return {name}
    return set()


def _ancestors(parts: list[str]) -> list[str]:
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _file(module: str) -> str:
    return Path(str(sys.modules[module].__file__)).relative_to(ROOT).as_posix()
