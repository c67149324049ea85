"""The formulas of public docstrings, for the tests of the site's mathematics."""

import inspect
import re
from functools import cache

from docs.formulas.parse import parse
from docs.formulas.recognize import is_formula, letters
from docs.generation.names import public_names

LITERAL = re.compile(r"(?<!`)``([^`]+?)``(?!`)", re.DOTALL)
ROLE = re.compile(r":math:`([^`]+)`")
BLOCK = re.compile(r"^( *)\.\. math::(.*\n(?:(?:\1 +.*)?\n)*)", re.MULTILINE)


@cache
def docstrings():
    """Each public docstring, of methods too, by dotted name."""
    found = {}
    for public in public_names():
        path, value = public.path, public.value
        if not inspect.isclass(value) and not inspect.isroutine(value):
            continue
        found[path] = inspect.getdoc(value) or ""
        for name, member in vars(value).items() if inspect.isclass(value) else ():
            member = getattr(member, "__func__", getattr(member, "fget", member))
            if not name.startswith("_") and inspect.isfunction(member):
                found[f"{path}.{name}"] = inspect.getdoc(member) or ""
    return found


def literals(text):
    return [" ".join(found.split()) for found in LITERAL.findall(text)]


def formulas(text):
    """What is mathematics among a docstring's literals."""
    found = literals(text)
    known = frozenset().union(*(letters(parse(each)) for each in found if is_formula(each)))
    return [each for each in found if is_formula(each, known)]


@cache
def every_formula():
    """Each formula of the package once, with one place where it is."""
    return {each: path for path, text in docstrings().items() for each in formulas(text)}


@cache
def every_latex():
    """What docstrings have in LaTeX already: roles, and displays."""
    roles, blocks = set(), set()
    for text in docstrings().values():
        roles |= {" ".join(each.split()) for each in ROLE.findall(text)}
        blocks |= {inspect.cleandoc(each[1]) for each in BLOCK.findall(text + "\n")}
    return roles, blocks
