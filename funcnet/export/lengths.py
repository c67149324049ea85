"""Open lengths: names that stand for numbers, and sums and products of them, as shapes of exported functions have."""

import ast
import re
from collections.abc import Mapping, Sequence

__all__ = ["evaluate_length", "fitting_length", "symbols_of"]

_WORD = re.compile(r"[A-Za-z_]\w*")
_OPERATIONS = {"floordiv", "max", "min", "mod"}
_LONGEST = 500
"""Characters: nobody writes a longer one, and what is read from a file is parsed."""

_HIGHEST_POWER = 8
_LARGEST = 2**63
"""Powers of powers, which a file may hold, would else be numbers that fill the memory."""


def symbols_of(lengths: Sequence[int | str]) -> list[str]:
    """List the names in lengths, each once, in order.

    >>> from funcnet.export.lengths import symbols_of
    >>> symbols_of(["batch", 3, "2*time + batch"])
    ['batch', 'time']
    """
    words = [
        word for length in lengths if isinstance(length, str) for word in _WORD.findall(length)
    ]
    return [word for word in dict.fromkeys(words) if word not in _OPERATIONS]


def evaluate_length(length: int | str, sizes: Mapping[str, int]) -> int:
    """Work out the number that a length stands for.

    Args:
        length: a number, a name, or an expression as `jax.export.symbolic_shape` reads and prints them.
        sizes: a number for each name.

    Raises:
        ValueError: a name has no number, or the text is no such expression.

    >>> from funcnet.export.lengths import evaluate_length
    >>> evaluate_length("2*batch + floordiv(time, 2)", {"batch": 3, "time": 5})
    8
    """
    if isinstance(length, int):
        return length
    missing = [name for name in symbols_of([length]) if name not in sizes]
    if missing:
        raise ValueError(f"no size is given for {', '.join(missing)}")
    try:
        if len(length) > _LONGEST or "\0" in length:  # of which Python 3.11.2 says something else
            raise SyntaxError
        tree = ast.parse(length.strip().replace("^", "**"), mode="eval")
        return _number(tree.body, sizes)
    except (SyntaxError, RecursionError, MemoryError, ZeroDivisionError):
        raise ValueError(
            f"{length[:100]!r} is no length, such as 'batch' or '2*batch + 1'"
        ) from None


def _number(node: ast.expr, sizes: Mapping[str, int]) -> int:
    """Evaluate a node, and refuse a number that no axis has."""
    number = _evaluated(node, sizes)
    if abs(number) > _LARGEST:
        raise SyntaxError
    return number


def _evaluated(node: ast.expr, sizes: Mapping[str, int]) -> int:
    """Evaluate the few kinds of nodes that a length is made of."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return int(sizes[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, sizes)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(operator, _number(left, sizes), _number(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]):
            return _called(name, _number(left, sizes), _number(right, sizes))
    raise SyntaxError


def _combined(operator: ast.operator, left: int, right: int) -> int:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Pow() if 0 <= right <= _HIGHEST_POWER:
            return left**right
    raise SyntaxError


def _called(name: str, left: int, right: int) -> int:
    match name:
        case "floordiv":
            return left // right
        case "mod":
            return left % right
        case "max":
            return max(left, right)
        case "min":
            return min(left, right)
    raise SyntaxError


def fitting_length(found: Sequence[tuple[Mapping[str, int], int]]) -> int | str | None:
    """Find the length, as a number or a name times a number plus a number, that was found at some sizes.

    Args:
        found: sizes, and the length there.

    Returns:
        None if there is none.

    >>> from funcnet.export.lengths import fitting_length
    >>> fitting_length([({"batch": 1}, 3), ({"batch": 4}, 9)])
    '2*batch + 1'
    """
    first, length = found[0]
    candidates: list[int | str] = [length, *first, *(_line(name, found) for name in first)]
    return next((each for each in candidates if _fits(each, found)), None)


def _fits(length: int | str, found: Sequence[tuple[Mapping[str, int], int]]) -> bool:
    return all(evaluate_length(length, sizes) == n for sizes, n in found)


def _line(name: str, found: Sequence[tuple[Mapping[str, int], int]]) -> int | str:
    """Write the line through the first two sizes that differ in a name."""
    first, length = found[0]
    for sizes, other in found[1:]:
        if sizes[name] != first[name]:
            slope = (other - length) // (sizes[name] - first[name])
            rest = length - slope * first[name]
            return f"{slope}*{name}" + (f" + {rest}" if rest > 0 else f" - {-rest}" if rest else "")
    return length
