"""Signatures as the source writes them: types by the names that people know, defaults as expressions."""

import ast
import inspect
from dataclasses import dataclass
from typing import Any

from docs.generation.reference import source

__all__ = ["Argument", "Signature", "signature"]

EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class Argument:
    """One argument.

    Attributes:
        name: with its stars: ``*args``.
        type: as written; "" if there is none.
        default: as written; None if there is none.
        kind: of `inspect.Parameter`.
    """

    name: str
    type: str
    default: str | None
    kind: Any

    def __str__(self) -> str:
        """``bias: bool = True``."""
        text = f"{self.name}: {self.type}" if self.type else self.name
        if self.default is None:
            return text
        return f"{text} = {self.default}" if self.type else f"{text}={self.default}"


@dataclass(frozen=True)
class Signature:
    """What something is called with, and what it returns."""

    arguments: tuple[Argument, ...]
    returns: str

    def __str__(self) -> str:
        """``(x: Array, *, axis: int = -1) -> Array``."""
        shown: list[str] = []
        last = None
        for argument in self.arguments:
            kind = argument.kind
            if last == inspect.Parameter.POSITIONAL_ONLY != kind:
                shown.append("/")
            starred = last in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY}
            if kind == inspect.Parameter.KEYWORD_ONLY and not starred:
                shown.append("*")
            shown.append(str(argument))
            last = kind
        if last == inspect.Parameter.POSITIONAL_ONLY:
            shown.append("/")
        returns = f" -> {self.returns}" if self.returns else ""
        return f"({', '.join(shown)}){returns}"


def signature(value: Any, bound: bool = False) -> Signature | None:
    """Read a signature; None of what cannot be called.

    Args:
        value: a class, a function or a method.
        bound: whether to leave out ``self``.
    """
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    node = source.functions(value)
    texts = _written(node) if node else {}
    if inspect.isclass(value):
        texts = {**source.annotations(value), **texts}
    parameters = list(found.parameters.values())[1 if bound else 0 :]
    arguments = tuple(_argument(p, *texts.get(p.name, ("", None))) for p in parameters)
    returns = "" if inspect.isclass(value) or not node else source.written(node.returns)
    return Signature(arguments, returns)


def _argument(parameter: inspect.Parameter, type_: str, default: str | None) -> Argument:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    if not type_ and parameter.annotation is not EMPTY:
        type_ = inspect.formatannotation(parameter.annotation)
    if parameter.default is EMPTY:
        default = None
    elif default is None or default.startswith("field("):
        default = _default(parameter.default, default)
    return Argument(stars.get(parameter.kind, "") + parameter.name, type_, default, parameter.kind)


def _default(value: Any, text: str | None) -> str:
    """Write a default: a factory of dataclasses by what it makes."""
    if text and "default_factory=" in text:
        return {"dict": "{}", "list": "[]"}.get(
            text.split("default_factory=")[1].split(",")[0].strip(")"), "..."
        )
    said = repr(value)
    return "..." if said.startswith("<") else said


def _written(node: ast.FunctionDef) -> dict[str, tuple[str, str | None]]:
    """Give type and default of each argument of a ``def``."""
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    pairs = list(zip(plain, [*defaults, *args.defaults], strict=True))
    pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
    pairs += [(a, None) for a in (args.vararg, args.kwarg) if a]
    return {
        a.arg: (source.written(a.annotation), None if d is None else ast.unparse(d))
        for a, d in pairs
    }
