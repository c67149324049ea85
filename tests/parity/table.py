"""What a row says: one configuration of one layer or function, and what is compared on it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pytest

from tests.parity.tolerance import RELATIVE


@dataclass(frozen=True, eq=False)
class Row:
    """One configuration of one layer or function.

    Inputs are shapes (normal floats), makers such as `ints`, or plain values passed as they are. Keyword
    arguments of the call are given by ``call`` in the same way. ``ours`` and ``theirs`` replace the call where
    the two sides' calls are spelled differently.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: Any = ()
    call: dict[str, Any] = field(default_factory=dict)
    build: Callable[[Any], Any] | None = None
    ours: Callable[..., Any] | None = None
    theirs: Callable[..., Any] | None = None
    train: bool = True
    """Compare three steps of training too (off where training draws random numbers)."""
    dtypes: bool | None = None
    """Run in float32 and bfloat16 too; by default, the first row of a name does."""
    vmap: bool | None = None
    """Likewise for a vmapped call."""
    differences: bool | None = None
    """Likewise for finite differences: by default the first row of a name that has gradients. Off, with the
    reason beside it, where the gradient is not the derivative by definition."""
    gradients: bool = True
    relative: float = RELATIVE
    """Widen only with the reason in a comment beside it."""
    note: str = ""
    fault: str = ""
    """A known fault of the library that makes this row fail, until it is mended: then the row says so."""
    error: tuple[type[Exception], str] | None = None

    def raises(self, error: type[Exception], message: str) -> Self:
        """The same row, which is refused with this class of error and a message that holds these words."""
        return replace(self, error=(error, message))

    def __str__(self) -> str:
        shown = [*(map(_short, self.args)), *(f"{k}={_short(v)}" for k, v in self.kwargs.items())]
        shapes = [_short(i) for i in self.inputs if isinstance(i, tuple)]
        calls = [f"{k}={_short(v)}" for k, v in self.call.items()]
        return f"{self.name}({','.join(shown)})[{';'.join(shapes + calls)}]{self.note}"


class Layer(Row):
    """A class of ``nn``."""


class Function(Row):
    """A function of ``functional``; ``args`` and ``kwargs`` follow the inputs."""


def rows(several: list[Row]) -> list[Any]:
    """Let the first row of each name test what needs to be tested once, where the row does not say.

    A row with a fault must fail: the day it passes, the test does not.
    """
    first = {}
    for row in several:
        for what in ("vmap", "dtypes", "differences"):
            if what != "differences" or row.gradients:
                first.setdefault((what, row.name), row)
    marked = []
    for row in several:
        settings = {
            what: first.get((what, row.name)) is row
            for what in ("vmap", "dtypes", "differences")
            if getattr(row, what) is None
        }
        told = replace(row, **settings)
        marks = [pytest.mark.xfail(strict=True, reason=row.fault)] if row.fault else []
        marked.append(pytest.param(told, marks=marks, id=str(told)) if marks else told)
    return marked


def _short(value: Any) -> str:
    text = getattr(value, "__name__", None) or str(value)
    return text.replace(" ", "") if len(text) < 40 else type(value).__name__
