"""Read a formula as docstrings write it: Unicode and Python's signs."""

import re
import unicodedata
from typing import NamedTuple

from docs.formulas import symbols
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

__all__ = ["NotAFormulaError", "Token", "parse", "tokens"]

CLOSING = {"(": ")]", "[": "])", "{": "}", "|": "|", "‖": "‖"}

OVER_INDEX = {"sum": r"\sum", "max": r"\max", "min": r"\min", "mean": r"\operatorname*{mean}"}
"""Words that stand over an index where one follows: ``sum_j``."""

INDICES = {"ij", "ji", "ik", "jk", "kl"}
"""Subscripts that are two indices, not a word."""

TOKEN = re.compile(
    r"""(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)
    |(?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*)
    |(?P<sign>\*\*|<=|>=|!=|\+=|--|\.\.\.|.)""",
    re.VERBOSE,
)


class NotAFormulaError(ValueError):
    """The text does not read as a formula."""


class Token(NamedTuple):
    """A piece of a formula.

    Attributes:
        text: its characters.
        kind: ``"number"``, ``"name"`` or ``"sign"``.
        spaced: whether a space is before it.
    """

    text: str
    kind: str
    spaced: bool


def tokens(text: str) -> list[Token]:
    """Cut a text into numbers, names and signs."""
    text = " ".join(text.split()).replace("\u2212", "-")
    text = "".join(unicodedata.normalize("NFD", c) if c.isalpha() else c for c in text)
    found, spaced = [], False
    for match in TOKEN.finditer(text):
        if match[0] != " ":
            found.append(Token(match[0], str(match.lastgroup), spaced))
        spaced = match[0] == " "
    return found


def parse(text: str) -> Node:
    """Read a formula.

    Raises:
        NotAFormulaError: it is none.
    """
    reader = _Reader(tokens(text))
    found = reader.sequence()
    if not reader.ended:
        raise NotAFormulaError(f"{reader.next.text!r} is not expected in {text!r}")
    return found


class _Reader:
    """Recursive descent, from commas down to single characters."""

    def __init__(self, read: list[Token]) -> None:
        self.tokens = read
        self.place = 0
        self.closing: list[str] = []

    @property
    def ended(self) -> bool:
        return self.place == len(self.tokens)

    @property
    def next(self) -> Token:
        return Token("", "end", False) if self.ended else self.tokens[self.place]

    @property
    def after(self) -> Token:
        """The token after the next one."""
        later = self.tokens[self.place + 1 : self.place + 2]
        return later[0] if later else Token("", "end", False)

    def take(self, *texts: str) -> str | None:
        """Step over the next token if it is one of these."""
        if self.next.text in texts and not self.ended:
            self.place += 1
            return self.tokens[self.place - 1].text
        return None

    def sequence(self) -> Node:
        parts = [self.choice()]
        while self.take(","):
            if self.ended or self.next.text in ")]}":
                break
            parts.append(self.choice())
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def choice(self) -> Node:
        value = self.relation()
        cases: list[tuple[Node, Node]] = []
        while self.take("if"):
            cases.append((value, self.relation()))
            if not self.take("else"):
                raise NotAFormulaError("if without else")
            value = self.relation()
        if not cases:
            return value
        first, test = cases[0]
        if isinstance(first, Row) and first.signs == ("=",):  # the left side has all cases
            chosen = Choice(((first.operands[1], test), *cases[1:]), value)
            return Row((first.operands[0], chosen), ("=",))
        return Choice(tuple(cases), value)

    def relation(self) -> Node:
        return self.row(self.sum, symbols.RELATIONS)

    def sum(self) -> Node:
        sign = self.take("-", "+", "±")
        first = self.product()
        operands = [Sign(_plus(sign), first) if sign else first]
        signs = []
        while sign := self.take("+", "-", "±"):
            signs.append(_plus(sign))
            operands.append(self.product())
        return Row(tuple(operands), tuple(signs)) if signs else operands[0]

    def product(self) -> Node:
        if self.next.text == "-":
            self.place += 1
            return Sign("-", self.fraction())
        return self.row(self.fraction, symbols.PRODUCTS)

    def row(self, operand, signs: dict[str, str]) -> Node:
        operands, found = [operand()], []
        while self.next.text in signs and not self.ended:
            found.append(signs[self.next.text])
            self.place += 1
            operands.append(operand())
        return Row(tuple(operands), tuple(found)) if found else operands[0]

    def fraction(self) -> Node:
        found = self.juxtaposed()
        while self.take("/"):
            found = Fraction(found, self.juxtaposed())
        return found

    def juxtaposed(self) -> Node:
        factors = [self.power()]
        while self.starts() or (self.next.kind == "number" and _is_function(factors[-1])):
            if self.next.text == "·":
                self.place += 1
                factors += [Symbol(r"\cdot"), self.power()]
            else:
                factors.append(self.power())
        return factors[0] if len(factors) == 1 else Juxtaposed(tuple(factors))

    def starts(self) -> bool:
        """Whether a further factor begins."""
        text, kind, spaced = self.next
        if kind in {"end", "number"}:
            return False
        if kind == "name":
            return text not in {"if", "else", "in"}
        if text in {"|", "‖"}:
            return not (self.closing and self.closing[-1] == text)
        if text == "·":
            return not spaced and not self.after.spaced and self.after.text != ")"
        single = symbols.GREEK.keys() | symbols.SYMBOLS.keys() | symbols.BIG.keys()
        return (text in single and text not in symbols.RELATIONS) or text in {"(", "[", "√"}

    def power(self) -> Node:
        base = self.scripted(self.atom())
        if self.take("^", "**"):
            exponent = self.braced() if self.next.text == "{" else self.exponent()
            base = _with(base, above=exponent)
        return base

    def exponent(self) -> Node:
        if self.take("-"):
            return Sign("-", self.exponent())
        return self.scripted(self.atom())

    def scripted(self, base: Node) -> Node:
        """Read what hangs on a base: brackets next to it, indices, powers, primes."""
        while not self.ended:
            text, _, spaced = self.next
            if text == "(" and not spaced and _callable(base):
                base = Call(base, self.bracket())
            elif text == "[" and not spaced:
                base = Index(base, self.bracket())
            elif text in symbols.SUPERSCRIPTS:
                base = _with(base, above=Symbol(self.run(symbols.SUPERSCRIPTS)))
            elif text in symbols.SUBSCRIPTS:
                base = _with(base, below=Symbol(self.run(symbols.SUBSCRIPTS)))
            elif text == "_" and not spaced:
                self.place += 1
                base = _with(base, below=self.subscript())
            elif text in {"'", "!"} and not spaced:
                self.place += 1
                base = _with(base, after=text)
            else:
                break
        return base

    def run(self, meaning: dict[str, str]) -> str:
        found = ""
        while not self.ended and self.next.text in meaning:
            found += meaning[self.next.text]
            self.place += 1
        return found

    def subscript(self) -> Node:
        if self.next.text == "{":
            return self.braced()
        if self.next.kind == "number":
            return Symbol(self.advance())
        if self.next.kind == "name":
            return _letters(self.advance())
        return self.atom()

    def advance(self) -> str:
        self.place += 1
        return self.tokens[self.place - 1].text

    def braced(self) -> Node:
        return self.bracket().inside

    def bracket(self) -> Group:
        opened = self.advance()
        if opened == "(" and self.next.text == "·" and self.after.text == ")":
            self.place += 2
            return Group("(", Operand(), ")")
        self.closing.append(opened)
        inside = self.sequence()
        closed = self.take(*CLOSING[opened])
        if closed is None:
            raise NotAFormulaError(f"{opened!r} is not closed")
        self.closing.pop()
        return Group(opened, inside, closed)

    def atom(self) -> Node:
        text, kind, _ = self.next
        if kind == "number":
            return Symbol(self.advance())
        if kind == "name" and text not in {"if", "else", "in"}:
            return self.name()
        if text in {"(", "["}:
            return self.bracket()
        if text in {"|", "‖"}:
            return Bars(text, self.bracket().inside)
        if text in symbols.FRACTIONS:
            self.place += 1
            return Symbol(r"\tfrac{{{}}}{{{}}}".format(*symbols.FRACTIONS[text]))
        if text == "√":
            self.place += 1
            inside = self.scripted(self.atom())
            return Surd(inside.inside if isinstance(inside, Group) else inside)
        if text in symbols.BIG:
            self.place += 1
            return self.big(symbols.BIG[text])
        if text in symbols.GREEK or text in symbols.SYMBOLS:
            self.place += 1
            return self.accented((symbols.GREEK | symbols.SYMBOLS)[text])
        raise NotAFormulaError(f"{text!r} is not expected")

    def name(self) -> Node:
        text = self.advance()
        head, _, tail = text.partition("_")
        if head in OVER_INDEX and (len(tail) == 1 or (not tail and self.next.text == "_")):
            return self.big(OVER_INDEX[head], _letters(tail) if tail else None)
        if text == "sum" and self.next.text != "(":
            return self.big(r"\sum")
        if text == "sqrt" and self.next.text == "(":
            return Surd(self.bracket().inside)
        if text in {"floor", "ceil"} and self.next.text == "(":
            return Group(text, self.bracket().inside, text)
        if len(text) == 1:
            return self.accented(text)
        if len(head) == 1 and 0 < len(tail) < 5:
            return Script(Symbol(head), below=_letters(tail))
        start, _, last = text.rpartition("_")
        if start and len(last) == 1:
            return Script(_letters(start), below=Symbol(last))
        return _letters(text)

    def accented(self, letter: str) -> Node:
        while not self.ended and self.next.text in symbols.ACCENTS:
            letter = rf"{symbols.ACCENTS[self.advance()]}{{{letter}}}"
        return Symbol(letter)

    def big(self, sign: str, below: Node | None = None) -> Node:
        above = None
        if below is None and self.take("_"):
            below = self.subscript()
        if below is None and self.next.text in symbols.SUBSCRIPTS:
            below = Symbol(self.run(symbols.SUBSCRIPTS))
        if self.take("^"):
            above = self.braced() if self.next.text == "{" else self.exponent()
        body = self.juxtaposed()
        if _names(below) and self.next.text == "/":
            start = self.place
            self.place += 1
            denominator = self.juxtaposed()
            if _names(below) & _names(denominator) and not isinstance(denominator, Big):
                body = Fraction(body, denominator)
            else:
                self.place = start
        return Big(sign, below, above, body)


def _plus(sign: str) -> str:
    return r"\pm" if sign == "±" else sign


def _letters(text: str) -> Node:
    """Say what a name is: a letter, a Greek one that is spelled out, a word."""
    if text in symbols.GREEK_WORDS:
        return Symbol(symbols.GREEK_WORDS[text])
    if text in INDICES:
        return Juxtaposed(tuple(map(Symbol, text)))
    return Symbol(text) if len(text) == 1 or text.isdigit() else Word(text)


def _is_function(node: Node) -> bool:
    return isinstance(node, Word) and node.text in symbols.FUNCTIONS


def _callable(base: Node) -> bool:
    while isinstance(base, Script):
        base = base.base
    return isinstance(base, Word) or (isinstance(base, Symbol) and not base.text[0].isdigit())


def _with(base: Node, below: Node | None = None, above: Node | None = None, after: str = ""):
    """Hang something on a base, on which other things may hang already."""
    if isinstance(base, Script):
        if (below and base.below) or (above and base.above):
            raise NotAFormulaError("two subscripts or powers")
        return Script(base.base, below or base.below, above or base.above, base.after + after)
    return Script(base, below, above, after)


def _names(node: object) -> set[str]:
    """List the letters and words of a part."""
    if isinstance(node, Symbol | Word):
        return {node.text} if node.text.isalpha() else set()
    if isinstance(node, tuple):
        return set().union(*map(_names, node)) if node else set()
    return set().union(*map(_names, vars(node).values())) if hasattr(node, "__dict__") else set()
