"""Dotted names of the leaves of any tree, none of them twice."""

from typing import Any

__all__ = ["Names", "part_of_key"]

_WHOLE = "value"
"""The name of a tree that is one leaf."""

_RESERVED = "__metadata__"
"""What safetensors files keep for themselves."""


def part_of_key(key: Any) -> str:
    r"""Spell a dict's key as a part of a dotted name; dots within it are escaped, other keys than text in brackets.

    >>> part_of_key("weight"), part_of_key("a.b"), part_of_key(0), part_of_key((1, None))
    ('weight', 'a\\.b', '(0)', '(1, None)')
    """
    if isinstance(key, str):
        if not key:
            return "\\e"
        part = key.replace("\\", "\\\\").replace(".", "\\.")
        part = f"\\{part}" if part.startswith("(") else part
    else:
        part = repr(key) if isinstance(key, tuple) else f"({key!r})"
        part = part.replace("\\", "\\\\").replace(".", "\\.")
    # half of a surrogate pair is text in Python, not in a file
    return part.encode("utf-8", "backslashreplace").decode()


class Names:
    r"""Makes names of parts, each name once.

    >>> names = Names()
    >>> names.make(("blocks", "0", "weight")), names.make(("blocks", "0", "weight")), names.make(())
    ('blocks.0.weight', 'blocks.0.weight\\2', 'value')
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def make(self, parts: tuple[str, ...]) -> str:
        """Join parts; one that was there before, because its tree does not tell its leaves apart, gets a number."""
        name = ".".join(parts) or _WHOLE
        name = f"\\{name}" if name == _RESERVED else name
        self._times[name] = times = self._times.get(name, 0) + 1
        return name if times == 1 else f"{name}\\{times}"
