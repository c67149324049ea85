"""All that makes of one model another: ``(module, params, state)`` in, the same out.

A rewriting says which examples it refuses, and with which words; and what its outputs are like, so that it is
checked against something that it did not compute itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rewriting:
    """One way of making a model smaller or other.

    Attributes:
        make: ``(module, params, state, input) -> (module, params, state)``.
        refuses: by the name of an example, words of the error.
        near: how much uses of it may differ from a plain call.
        like: how far its output may lie from the model's own, relative to the largest; None where it is another.
    """

    make: Callable[..., Any]
    refuses: dict[str, str] = field(default_factory=dict)
    near: float = 1e-5
    like: float | None = None


REWRITINGS: dict[str, Rewriting] = {
    "as it is": Rewriting(lambda module, params, state, x: (module, params, state), like=0),
}
