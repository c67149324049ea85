"""Write a formula in LaTeX, in ASCII alone."""

import re

from docs.formulas.parse import parse
from docs.formulas.symbols import FUNCTIONS
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

__all__ = ["latex", "lines", "width", "write"]

WIDTH = 68
"""Letters of a display's line; a longer formula goes on in the next."""

BRACKETS = {
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
    "{": (r"\{", r"\}"),
    "}": (r"\{", r"\}"),
}

TALL = (r"\frac", r"\sum", r"\prod", r"\begin", r"\sqrt", r"\max_", r"\min_")
"""Brackets grow around these."""

DISTRIBUTIONS = {"U": r"\mathcal{U}", "N": r"\mathcal{N}"}
"""Letters that are distributions where they have arguments."""


def latex(text: str, display: bool = False) -> str:
    """Turn a formula of a docstring into LaTeX.

    Args:
        text: Unicode, with Python's signs: ``x / (1 + |x|)``.
        display: whether it has a line of its own, where fractions are built up.

    Raises:
        NotAFormulaError: it cannot be read.
    """
    return write(parse(text), display)


def write(node: Node, display: bool = False) -> str:
    """Write a formula that was read."""
    return _Writer(display).write(node).strip()


def lines(text: str) -> list[str]:
    """Write a formula as a display: one line, or several of an alignment where it is long.

    Raises:
        NotAFormulaError: it cannot be read.
    """
    read = parse(text)
    whole = write(read, display=True)
    if not (isinstance(read, Row) and read.signs == ("=",)):
        return [whole]
    left, right = read.operands
    start = f"{write(left, display=True)} &= "
    if width(whole) <= WIDTH or not isinstance(right, Row):
        return [start + write(right, display=True)]
    found = [start + write(right.operands[0], display=True)]
    for sign, operand in zip(right.signs, right.operands[1:], strict=True):
        term = f" {sign} {write(operand, display=True)}"
        if width(found[-1]) + width(term) > WIDTH:
            found.append(r"&\quad{}" + term)
        else:
            found[-1] += term
    return found


def width(written: str) -> int:
    """Estimate how many letters wide a formula is."""
    fractions = re.sub(r"\\frac\{([^{}]*)\}\{[^{}]*\}", r"\1", written)
    letters = re.sub(r"\\(mathrm|mathcal|operatorname|text|left|right|begin|end)\b", "", fractions)
    return len(re.sub(r"[\\{}&_^ ]", "", re.sub(r"\\[a-zA-Z]+", "x", letters)))


class _Writer:
    """Writes each kind of part; fractions are built up in a display, once, and slanted elsewhere."""

    def __init__(self, built_up: bool) -> None:
        self.built_up = built_up

    def write(self, node: Node) -> str:
        return getattr(self, f"_{type(node).__name__.lower()}")(node)

    def slanted(self, node: Node) -> str:
        """Write where there is no room for a built-up fraction."""
        return _Writer(False).write(node)

    def _symbol(self, node: Symbol) -> str:
        return f"{node.text} " if node.text[-1].isalpha() and node.text[0] == "\\" else node.text

    def _word(self, node: Word) -> str:
        return r"\mathrm{{{}}}".format(node.text.replace("_", r"\_"))

    def _operand(self, node: Operand) -> str:
        return r"\cdot "

    def _function(self, node: Word) -> str:
        return FUNCTIONS[node.text] if node.text in FUNCTIONS else self._word(node)

    def _group(self, node: Group) -> str:
        if self.built_up and isinstance(node.inside, Choice):
            return self.write(node.inside)
        return self._bracketed(node.opened, self.write(node.inside), node.closed)

    def _bracketed(self, opened: str, inside: str, closed: str) -> str:
        left, right = BRACKETS.get(opened, (opened, ""))[0], BRACKETS.get(closed, ("", closed))[1]
        if any(each in inside for each in TALL) and self.built_up:
            return rf"\left{left}{inside}\right{right}"
        return f"{left}{inside}{right}"

    def _bars(self, node: Bars) -> str:
        name = {"|": "vert", "‖": "Vert"}[node.bar]
        inside = self.write(node.inside)
        if any(each in inside for each in TALL) and self.built_up:
            return rf"\left\{name} {inside}\right\{name} "
        return rf"\l{name} {inside}\r{name} "

    def _script(self, node: Script) -> str:
        base = self.write(node.base).rstrip()
        if isinstance(node.base, Word):
            base = self._function(node.base)
        if isinstance(node.base, Script | Surd | Fraction):
            base = f"{{{base}}}"
        primes = node.after.replace("!", "")
        below = f"_{{{self._small(node.below)}}}" if node.below is not None else ""
        above = f"^{{{self._small(node.above)}}}" if node.above is not None else ""
        if primes and above:
            above, primes = f"^{{{chr(92)}prime {self._small(node.above)}}}", ""
        return base + below + primes + above + "!" * node.after.count("!")

    def _small(self, node: Node | None) -> str:
        """Write a subscript or an exponent: its brackets are not needed."""
        if node is None:
            return ""
        return self.slanted(node.inside if isinstance(node, Group) else node).strip()

    def _call(self, node: Call) -> str:
        function = node.function
        if isinstance(function, Symbol) and function.text in DISTRIBUTIONS:
            name = DISTRIBUTIONS[function.text]
        elif isinstance(function, Word):
            other = r"\operatorname{{{}}}".format(function.text.replace("_", r"\_"))
            name = FUNCTIONS.get(function.text, other)
        else:
            name = self.write(function).rstrip()
        return name + self.write(node.arguments)

    def _index(self, node: Index) -> str:
        return self.write(node.array).rstrip() + self.slanted(node.indices)

    def _surd(self, node: Surd) -> str:
        return rf"\sqrt{{{self.slanted(node.inside).strip()}}}"

    def _big(self, node: Big) -> str:
        below = f"_{{{self._small(node.below)}}}" if node.below is not None else ""
        above = f"^{{{self._small(node.above)}}}" if node.above is not None else ""
        return f"{node.sign}{below}{above} {self.write(node.body)}"

    def _fraction(self, node: Fraction) -> str:
        if not self.built_up:
            return f"{self.write(node.above).rstrip()} / {self.write(node.below)}"
        inner = _Writer(False)
        above, below = (inner.write(_bare(each)).strip() for each in (node.above, node.below))
        return rf"\frac{{{above}}}{{{below}}}"

    def _juxtaposed(self, node: Juxtaposed) -> str:
        if all(isinstance(each, Symbol) and each.text in "ijkl" for each in node.factors):
            return "".join(map(self.write, node.factors))
        *firsts, last = node.factors
        written = ""
        for factor, after in zip(firsts, node.factors[1:], strict=True):
            if isinstance(factor, Word) and factor.text in FUNCTIONS:
                written += f"{self._function(factor)} "
            else:
                written += self.write(factor)
            written += r"\," if _apart(factor, after) else ""
        return written + self.write(last)

    def _sign(self, node: Sign) -> str:
        sign = r"\pm " if node.sign == r"\pm" else node.sign
        return sign + self.write(node.inside)

    def _row(self, node: Row) -> str:
        written = self.write(node.operands[0])
        for sign, operand in zip(node.signs, node.operands[1:], strict=True):
            written = f"{written.rstrip()} {sign} {self.write(operand)}"
        return written

    def _choice(self, node: Choice) -> str:
        if not self.built_up:
            cases = "".join(
                rf"{self.write(value).rstrip()} \text{{ if }} {self.write(test).rstrip()} \text{{ else }} "
                for value, test in node.cases
            )
            return cases + self.write(node.otherwise)
        rows = [rf"{self.slanted(v)} & \text{{if }} {self.slanted(t)}" for v, t in node.cases]
        rows.append(rf"{self.slanted(node.otherwise)} & \text{{otherwise}}")
        return "\\begin{cases}" + " \\\\ ".join(rows) + "\\end{cases}"

    def _sequence(self, node: Sequence) -> str:
        return ", ".join(self.write(each).rstrip() for each in node.parts)


def _bare(node: Node) -> Node:
    """Take what round brackets hold, where a fraction's line does their work."""
    if isinstance(node, Group) and node.opened == "(" and not isinstance(node.inside, Sequence):
        return node.inside
    return node


def _apart(before: Node, after: Node) -> bool:
    """Whether a thin space is between two factors: functions bring their own, ``r (a + b)`` is no call of ``r``."""
    if isinstance(before, Word) and before.text in FUNCTIONS:
        return False
    if Symbol(r"\cdot") in {before, after}:
        return False
    if isinstance(before, Symbol) and before.text.removeprefix(r"\tfrac{")[0].isdigit():
        base = after.base if isinstance(after, Script) else after
        return not isinstance(base, Symbol | Group)
    return not isinstance(before, Group) or not isinstance(after, Group)
