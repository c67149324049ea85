"""Turn the plain sentences of errors into Markdown: code is set as code, names of funcnet are links."""

import inspect
import re
from functools import cache
from typing import Any

import funcnet as fn
from docs.generation.names import public_names

__all__ = ["find", "link", "markdown", "names_in"]

ROOTS = {
    "fn": "funcnet",
    "F": "funcnet.functional",
    **{
        home: f"funcnet.{home}"
        for home in ("nn", "optim", "data", "parallel", "training", "transforms")
    },
}
"""How sentences write packages."""

_HEAD = re.compile(
    r"(?<![\w.=])"
    r"(?:(?:[a-z_][\w.]*(?:, [a-z_]\w*)* = )?"
    r"(?:fn|nn|F|optim|data|parallel|training|transforms|jax|jnp|lax|np|x|net|self|module)(?:\.[A-Za-z_]\w*)+"
    r"|x\[|[a-z_]+=(?:'[^']*'|\w+)?)"
)
"""Where code begins in a sentence that does not say so: a dotted name, perhaps assigned, or a keyword."""

_NAME = re.compile(rf"(?<![\w.])({'|'.join(ROOTS)})((?:\.[A-Za-z_]\w*)+)")


def markdown(sentence: str) -> str:
    """Return a sentence with its code as code and links.

    >>> markdown("optim.schedules.step(lr, step_size, gamma); or jnp.abs")
    '{py:obj}`optim.schedules.step(lr, step_size, gamma) <funcnet.optim.schedules.step>`; or `jnp.abs`'
    """
    parts = re.split(r"(`[^`]*`)", sentence)
    return "".join(
        _code(part[1:-1]) if part[:1] == "`" else _with_code(part) for part in parts
    ).replace("|", r"\|")


def names_in(sentence: str) -> list[str]:
    """List the names of funcnet in a sentence, in full: ``funcnet.nn.Linear``."""
    return [ROOTS[root] + rest for root, rest in _NAME.findall(sentence)]


def find(path: str) -> Any:
    """Return the object that a name in full stands for; None if there is none."""
    value: Any = fn
    for part in path.split(".")[1:]:
        value = getattr(value, part, None)
    return value


def link(text: str, value: Any) -> str:
    """Return code that leads to an object's page in the reference, if it has one."""
    page = _pages().get(id(value))
    if page is None or "<" in text:
        return f"`{text}`"
    return f"{{py:obj}}`{text} <{page}>`"


@cache
def _pages() -> dict[int, str]:
    found = (n for n in public_names() if inspect.isclass(n.value) or inspect.isfunction(n.value))
    return {id(name.value): name.path for name in found}


def _with_code(text: str) -> str:
    made, at = "", 0
    while (head := _HEAD.search(text, at)) is not None:
        end = head.end() - head.group().endswith("[")
        while (more := _continued(text, end)) > end:
            end = more
        made += text[at : head.start()] + _code(text[head.start() : end])
        at = end
    return made + text[at:]


def _continued(text: str, at: int) -> int:
    """Return where what begins at a place ends: brackets, or one more name after a dot."""
    if text[at : at + 1] in ("(", "["):
        depth = 0
        for place in range(at, len(text)):
            depth += (text[place] in "([") - (text[place] in ")]")
            if not depth:
                return place + 1
        return at
    more = re.compile(r"\.[A-Za-z_]\w*(?=[(\[.]|\W|$)").match(text, at)
    return more.end() if more else at


def _code(code: str) -> str:
    names = names_in(code)
    value = find(names[0]) if names else None
    return link(code, value)
