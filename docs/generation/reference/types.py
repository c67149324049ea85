"""The page of the types that signatures name."""

import ast
import inspect

from docs.generation.reference import source
from docs.generation.reference.markup import heading, indented
from funcnet.core import aliases

__all__ = ["types_page"]


def types_page() -> str:
    """Write the types of `funcnet.core.aliases`, each with what it stands for."""
    body = source.tree(aliases.__name__).body
    shown = [
        heading("Types in signatures", "="),
        "Short names for types, so that signatures read the same everywhere. In code of your own:"
        " ``from funcnet.core.aliases import Array``.",
    ]
    for statement, after in zip(body, [*body[1:], None], strict=True):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                shown.append(_entry(name, ast.unparse(value), inspect.cleandoc(text)))
            case ast.ClassDef(name=name), _:
                shown.append(_entry(name, "", inspect.getdoc(getattr(aliases, name)) or ""))
    return "\n\n".join(shown) + "\n"


def _entry(name: str, value: str, text: str) -> str:
    value = f"\n   :value: {value}" if value else ""
    return f".. py:data:: {name}{value}\n\n{indented(text)}"
