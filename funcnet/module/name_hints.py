"""What may be meant where names or shapes do not fit: the hints below a list of them."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations

__all__ = ["axes_hint", "name_hints", "nearest"]

SIMILAR = 0.75
"""From 0 to 1: how alike two names must be for one to be offered for the other."""

MOST_COMPARED = 400
"""Names: comparing each with each takes the square of it."""

MOST_SHOWN = 8

OLD_ENDINGS = (
    ("gamma", "weight"),
    ("beta", "bias"),
    ("kernel", "weight"),
    ("scale", "weight"),
    ("embedding", "weight"),
    ("weight_g", "parametrizations.weight.original0"),
    ("weight_v", "parametrizations.weight.original1"),
)
"""Last parts of names, as older files or other libraries spell them, and as PyTorch does."""

WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What PyTorch's wrappers (of compiling, of data parallelism, of recomputing) put into names."""


def nearest(word: str, names: Iterable[str], count: int = MOST_SHOWN) -> list[str]:
    """Return the names most like a word, the most alike first; of very many names, those that share a part with it."""
    names = list(names)
    if len(names) > MOST_COMPARED:
        parts = {part for part in word.split(".") if part}
        names = [name for name in names if parts & set(name.split("."))][:MOST_COMPARED]
    return difflib.get_close_matches(word, names, count, 0.5)


def name_hints(
    missing: Sequence[str], unexpected: Sequence[str], given: Iterable[str]
) -> list[str]:
    """Say what would make names fit, a line each: another prefix, an old spelling, a slip of the pen.

    Args:
        missing: names that were expected.
        unexpected: names that came and were not expected.
        given: all names that came.
    """
    if not missing or not unexpected:
        return []
    for hint in (_prefix_too_much, _wrapper_within, _prefix_too_little):
        if found := hint(missing, unexpected, list(given)):
            return [found]
    left, hints = _old_endings(missing, unexpected)
    return hints + _slips(left, unexpected)


def _tails(name: str) -> Iterable[tuple[str, str]]:
    """Every way to cut a name into a beginning that ends in a dot, and the rest."""
    at = name.find(".")
    while at >= 0:
        yield name[: at + 1], name[at + 1 :]
        at = name.find(".", at + 1)


def _common_beginning(long: Iterable[str], short: Iterable[str], half_of: int) -> str:
    """Find what begins names that without it are known, for half of them at least."""
    known = set(short)
    counts = Counter(begin for name in long for begin, rest in _tails(name) if rest in known)
    beginning, count = counts.most_common(1)[0] if counts else ("", 0)
    return beginning if 2 * count >= half_of else ""


def _prefix_too_much(
    missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]
) -> str:
    beginning = _common_beginning(unexpected, missing, len(missing))
    if not beginning:
        return ""
    count = sum(name.startswith(beginning) for name in given)
    rename = f"rename={{'{beginning}*': '*'}}"
    if count == len(given):
        return f"all {count} names begin with {beginning!r}: load_weights(..., {rename})"
    return (
        f"{count} of {len(given)} names begin with {beginning!r}: "
        f"load_weights(..., select='{beginning}*', {rename})"
    )


def _prefix_too_little(
    missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]
) -> str:
    beginning = _common_beginning(missing, unexpected, len(missing))
    if not beginning:
        return ""
    return (
        f"the module's names begin with {beginning!r} where these do not: "
        f"load_weights(..., rename={{'*': '{beginning}*'}})"
    )


def _wrapper_within(missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]) -> str:
    known = set(missing)
    for wrapper in WRAPPERS:
        inner = f".{wrapper}."
        count = sum(name.replace(inner, ".") in known for name in unexpected if inner in name)
        if 2 * count >= len(missing):
            return (
                f"{count} of {len(given)} names have {inner!r} in them: "
                f"load_weights(..., rename={{'*{inner}*': '*.*'}})"
            )
    return ""


def _old_endings(
    missing: Sequence[str], unexpected: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Explain names with another spelling at the end; return what is left, and the hints."""
    left, hints = list(missing), []
    for old, new in OLD_ENDINGS:
        explained = {
            f"{name.removesuffix(old)}{new}" for name in unexpected if f".{name}".endswith(f".{old}")
        } & set(left)
        if explained:
            left = [name for name in left if name not in explained]
            hints.append(
                f"{len(explained)} names end in {old!r} where PyTorch has {new!r} now: "
                f"load_weights(..., rename={{'*.{old}': '*.{new}'}})"
            )
    return left, hints


def _slips(missing: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    hints = []
    for name in missing[:MOST_SHOWN]:
        near = [
            other
            for other in nearest(name, unexpected, 1)
            if difflib.SequenceMatcher(None, name, other).ratio() >= SIMILAR
        ]
        hints += [f"is {near[0]} meant to be {name}?"] if near else []
    return hints


def axes_hint(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> str:
    """Say which order of the axes would make a shape fit, if one would."""
    if len(shape) != len(declared) or not 2 <= len(shape) <= 5:
        return ""
    for axes in permutations(range(len(shape))):
        if all(known in (None, shape[axis]) for axis, known in zip(axes, declared, strict=True)):
            order = ".T" if len(shape) == 2 else f".transpose{axes}"
            return f", which array{order} would have"
    return ""
