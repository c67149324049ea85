"""Tell formulas from code, among what docstrings have in double backticks."""

import re
from collections.abc import Iterator

from docs.formulas import symbols
from docs.formulas.parse import NotAFormulaError, Token, parse, tokens
from docs.formulas.tree import (
    Bars,
    Big,
    Call,
    Choice,
    Fraction,
    Group,
    Index,
    Juxtaposed,
    Node,
    Operand,
    Row,
    Script,
    Sequence,
    Sign,
    Surd,
    Symbol,
    Word,
)

__all__ = ["is_formula", "letters", "parts"]

CODE = {"True", "False", "None", "self", "lambda", "for", "not", "and", "or", "of", "jnp", "np"}
"""Words that no formula has."""

SIGNS = set(
    "".join(symbols.SUPERSCRIPTS) + "".join(symbols.SUBSCRIPTS) + "√Σ∑Π∏∫∇∂‖½¼¾⅓⅔⅛≤≥≠∈∉±×⊙←∞"
)
SIGNS |= symbols.GREEK.keys()
"""Characters that only formulas have."""


def is_formula(
    text: str, known: frozenset[str] = frozenset(), arguments: frozenset[str] = frozenset()
) -> bool:
    """Say whether a literal is mathematics.

    Args:
        text: what the backticks hold.
        known: letters that formulas around it use: alone, these are mathematics too.
        arguments: names of a function's arguments, which are code when they stand alone.
    """
    try:
        read = parse(text)
    except NotAFormulaError:
        return False
    if _looks_like_code(tokens(text)):
        return False
    if _is_tuple(read):
        return bool(SIGNS & set(text))
    if isinstance(read, Group) and read.opened == "[":
        ends = read.inside.parts if isinstance(read.inside, Sequence) else ()
        return len(ends) == 2 and not any(isinstance(each, Group) for each in ends)
    if (SIGNS | {"{"}) & set(text):
        return True
    if _is_alone(read):
        used = letters(read)
        return bool(used) and used <= known and not used & arguments
    return any(_is_mathematics(part) for part in parts(read))


def letters(node: Node) -> frozenset[str]:
    """List the variables of a formula: single letters, perhaps with a subscript."""
    if isinstance(node, Script):
        return letters(node.base)
    if isinstance(node, Symbol):
        return frozenset({node.text} if re.fullmatch("[A-Za-z]", node.text) else ())
    return frozenset().union(*map(letters, _children(node)))


def parts(node: Node) -> Iterator[Node]:
    """Go through a formula and all within it."""
    yield node
    for child in _children(node):
        yield from parts(child)


def _children(node: Node) -> Iterator[Node]:
    for value in vars(node).values():
        for each in value if isinstance(value, tuple) else (value,):
            if not isinstance(each, str | tuple) and each is not None:
                yield each
            elif isinstance(each, tuple):
                yield from each


def _looks_like_code(read: list[Token]) -> bool:
    """Whether signs stand as in code: ``name=value``, ``a/path``, ``a-name``, ``a | b``."""
    last, braces = Token("", "end", True), 0
    for before, token, after in zip([last, *read], read, [*read[1:], last], strict=False):
        if token.text in CODE and token.kind == "name":
            return True
        tight = not token.spaced and not after.spaced
        braces += {"{": 1, "}": -1}.get(token.text, 0)
        if token.text == "=" and tight and not braces:
            return True
        if token.text in {"/", "-"} and tight and before.kind in {"name", "number"}:
            pair = [each for each in (before, after) if each.kind == "name" and len(each.text) > 1]
            if len(pair) == 2 or (pair and (token.text == "-" or pair == [before])):
                return True
        if token.text == "|" and token.spaced and after.spaced:
            return True
        if token.text == "/" and token.spaced != after.spaced:
            return True
    return False


def _is_tuple(read: Node) -> bool:
    """Whether it is a shape or a tuple of arguments; intervals in square brackets are not."""
    return isinstance(read, Group) and (read.opened, read.closed) == ("(", ")")


def _is_alone(read: Node) -> bool:
    """Whether it is variables alone, or a comparison of one with a number."""
    if isinstance(read, Sequence):
        return all(isinstance(part, Symbol | Script) and _is_alone(part) for part in read.parts)
    if isinstance(read, Script):
        return read.above is None
    if isinstance(read, Row) and len(read.operands) == 2 and read.signs[0] in "<>":
        left, right = read.operands
        number = isinstance(right, Symbol) and right.text.isdigit()
        return number and isinstance(left, Symbol | Word | Script)
    return isinstance(read, Symbol)


def _is_function(part: Node) -> bool:
    return isinstance(part, Word) and part.text in symbols.FUNCTIONS


def _is_factor(part: Node) -> bool:
    """Whether a factor is a letter, or made of one."""
    base = part.array if isinstance(part, Index) else part
    return isinstance(base, Symbol | Script | Group)


def _is_mathematics(part: Node) -> bool:
    """Whether this part alone makes a text mathematics."""
    if isinstance(part, Juxtaposed):
        first = part.factors[0]
        return _is_function(first) or all(map(_is_factor, part.factors))
    if isinstance(part, Call):
        sign = isinstance(part.function, Symbol) and part.function.text in {"U", "N"}
        return (
            sign
            or _is_function(part.function)
            or any(isinstance(each, Sign) for each in parts(part.arguments))
        )
    if isinstance(part, Group):
        return part.opened in {"floor", "ceil"}
    if isinstance(part, Script):
        return part.above is not None
    return isinstance(part, Bars | Big | Choice | Fraction | Operand | Row | Surd)
