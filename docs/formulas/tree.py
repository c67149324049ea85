"""The parts of a formula: `parse` makes a tree of them, `latex` writes it."""

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "Bars",
    "Big",
    "Call",
    "Choice",
    "Fraction",
    "Group",
    "Index",
    "Juxtaposed",
    "Node",
    "Operand",
    "Row",
    "Script",
    "Sequence",
    "Sign",
    "Surd",
    "Symbol",
    "Word",
]


@dataclass(frozen=True)
class Symbol:
    r"""One character or number, in LaTeX: ``x``, ``\alpha``, ``2``, ``\dots``."""

    text: str


@dataclass(frozen=True)
class Word:
    """A name of several letters: ``stride``, ``log``."""

    text: str


@dataclass(frozen=True)
class Operand:
    """A placeholder, as in ``σ(·)``."""


@dataclass(frozen=True)
class Group:
    """What brackets hold: ``(a + b)``, ``[0, 1)``, ``{e in top_k}``."""

    opened: str
    inside: "Node"
    closed: str


@dataclass(frozen=True)
class Bars:
    """An absolute value or a norm."""

    bar: str
    inside: "Node"


@dataclass(frozen=True)
class Script:
    """A base with what hangs below and above it."""

    base: "Node"
    below: "Node | None" = None
    above: "Node | None" = None
    after: str = ""
    """Primes and a factorial's mark."""


@dataclass(frozen=True)
class Call:
    """A function and its arguments, the bracket next to the name."""

    function: "Node"
    arguments: Group


@dataclass(frozen=True)
class Index:
    """An array and its indices: ``input[n, i]``."""

    array: "Node"
    indices: Group


@dataclass(frozen=True)
class Surd:
    """A square root."""

    inside: "Node"


@dataclass(frozen=True)
class Big:
    """A sum, a product or a maximum over an index, and what it is of, if it reaches over a fraction."""

    sign: str
    below: "Node | None"
    above: "Node | None"
    body: "Node"


@dataclass(frozen=True)
class Fraction:
    """A quotient of what stands next to the slash on both sides."""

    above: "Node"
    below: "Node"


@dataclass(frozen=True)
class Juxtaposed:
    """Factors without a sign between them."""

    factors: tuple["Node", ...]


@dataclass(frozen=True)
class Sign:
    """A sign in front: ``-x``."""

    sign: str
    inside: "Node"


@dataclass(frozen=True)
class Row:
    """Operands with signs between them: products, sums and relations."""

    operands: tuple["Node", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """One value under a condition, else another: ``a if c else b``."""

    cases: tuple[tuple["Node", "Node"], ...]
    otherwise: "Node"


@dataclass(frozen=True)
class Sequence:
    """Parts with commas between them."""

    parts: tuple["Node", ...] = field(default=())


Node: TypeAlias = (
    Symbol
    | Word
    | Operand
    | Group
    | Bars
    | Script
    | Call
    | Index
    | Surd
    | Big
    | Fraction
    | Juxtaposed
    | Sign
    | Row
    | Choice
    | Sequence
)
