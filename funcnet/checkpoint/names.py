"""Names in files: those that are wanted, and what they become.

A pattern's ``*`` matches any text, dots too.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from funcnet.core.paths import matches
from funcnet.module.state_dict import nearest

__all__ = ["renamed", "selected_names"]

SHOWN = 12
"""How many names a message shows of those that may be meant."""


def selected_names(
    names: Iterable[str], select: str | Iterable[str] | None, path: Any
) -> list[str]:
    """Return the names that match a pattern, or any of several, in the order of the file.

    Raises:
        ValueError: a pattern matches none; the message shows names like it.
    """
    names = list(names)
    if select is None:
        return names
    patterns = [select] if isinstance(select, str) else list(select)
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            raise _matches_none(f"select={pattern!r}", pattern, names, path)
    return [name for name in names if any(matches(pattern, name) for pattern in patterns)]


def renamed(
    names: Iterable[str],
    rename: Mapping[str, str | None] | None,
    path: Any,
    ties: Collection[str] = (),
) -> dict[str, str]:
    """Map a file's names to new ones, in the order of the file; those that become None are left out.

    Args:
        names: of the file.
        rename: patterns to what takes their place. Each ``*`` matches as little text as it can, the last one the rest;
            the replacement's are filled in the same order. Of several patterns that match a name the first counts.
        path: of the file, for messages.
        ties: those of the names that give way where another becomes the same.

    Raises:
        ValueError: a pattern matches no name that an earlier one left, a replacement has more ``*`` than its pattern,
            or two names become one.

    >>> renamed(["model.layers.0.weight", "lm_head.weight"], {"model.layers.*": "blocks.*"}, "a file")
    {'model.layers.0.weight': 'blocks.0.weight', 'lm_head.weight': 'lm_head.weight'}
    """
    names = list(names)
    rules = [(pattern, _compiled(pattern, new), new) for pattern, new in (rename or {}).items()]
    used: set[str] = set()
    becomes: dict[str, str] = {}
    for name in names:
        new: str | None = name
        for pattern, expression, replacement in rules:
            if found := expression.fullmatch(name):
                used.add(pattern)
                new = None if replacement is None else _filled(replacement, found.groups())
                break
        if new is not None:
            becomes[name] = new
    for pattern, expression, _ in rules:
        if pattern not in used:
            example = next(filter(expression.fullmatch, names), None)
            raise _never_used(pattern, example, names, path)
    taken = {new for old, new in becomes.items() if old not in ties}
    becomes = {old: new for old, new in becomes.items() if old not in ties or new not in taken}
    _check_distinct(becomes, path)
    return becomes


def _compiled(pattern: str, replacement: str | None) -> re.Pattern[str]:
    if replacement is not None and replacement.count("*") > pattern.count("*"):
        raise ValueError(
            f"rename={{{pattern!r}: {replacement!r}}} has more * in the new name than in the pattern: each takes the "
            "text of one"
        )
    return re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _filled(replacement: str, texts: tuple[str, ...]) -> str:
    first, *rest = replacement.split("*")
    return first + "".join(text + part for text, part in zip(texts[: len(rest)], rest, strict=True))


def _never_used(pattern: str, example: str | None, names: list[str], path: Any) -> ValueError:
    if example is None:
        return _matches_none(f"rename={{{pattern!r}: …}}", pattern, names, path)
    return ValueError(
        f"rename={{{pattern!r}: …}} never applies: the patterns before it take every name that it matches, such as "
        f"{example}; put it first"
    )


def _matches_none(argument: str, pattern: str, names: list[str], path: Any) -> ValueError:
    near = nearest(pattern.replace("*", ""), names) or names[:SHOWN]
    below = any(name.startswith(f"{pattern}.") for name in names)
    more = f", … ({len(names)} in all)" if len(names) > len(near) else ""
    more += f"; what lies below {pattern!r} is '{pattern}.*'" if below else ""
    return ValueError(
        f"{argument} matches no name in {path}; there are: {', '.join(near) or 'none'}{more}"
    )


def _check_distinct(becomes: Mapping[str, str], path: Any) -> None:
    origins: dict[str, str] = {}
    clashes = [
        f"  {old} and {origins[new]} both become {new}"
        for old, new in becomes.items()
        if origins.setdefault(new, old) != old
    ]
    if clashes:
        raise ValueError(
            "\n".join([f"two names in {path} become one; rename one to None to drop it", *clashes])
        )
