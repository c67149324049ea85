"""What stands between a function and a target: one finding, as messages spell it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be handed to a target, or that would surprise there.

    Attributes:
        severity: ``"error"``, or ``"warning"`` for what can be exported and may not be what was meant.
        problem: why it cannot be exported.
        instead: what to write instead.
        operation: JAX's name of the operation; ``""`` for what concerns an input or the function as a whole.
        layer: the path of the module that asked for it, such as ``"blocks.3.attention"``; ``""`` if none did.
        line: the line of the user's code, as ``"model.py:31 (__call__)"``.

    Example:
        >>> def whiten(params, state, x):
        ...     return jnp.linalg.qr(x)[0], state
        >>> finding = fn.export.preflight(whiten, {}, {}, fn.export.spec((4, 3)))[0]
        >>> finding.severity, finding.operation, finding.layer
        ('error', 'qr', '')
    """

    severity: Literal["error", "warning"]
    problem: str
    instead: str
    operation: str = ""
    layer: str = ""
    line: str = ""

    @property
    def stops(self) -> bool:
        """Whether an exporter refuses the function for it."""
        return self.severity == "error"

    def __str__(self) -> str:
        """Spell it in two lines: where and what, then what to write instead."""
        where = ", ".join(filter(None, (self.layer, self.line)))
        start = "" if self.stops else "warning: "
        what = f"{self.operation}: {self.problem}" if self.operation else self.problem
        return f"{start}{where + ': ' if where else ''}{what}\n    instead: {self.instead}"


def below_each_other(findings: Iterable[Finding]) -> str:
    """Write findings below each other, for a message.

    >>> from funcnet.export.preflight.finding import Finding, below_each_other
    >>> print(below_each_other([Finding("error", "calls LAPACK", "keep the factor", "qr", "head", "net.py:3 (f)")]))
      - head, net.py:3 (f): qr: calls LAPACK
        instead: keep the factor
    """
    return "\n".join(f"  - {finding}" for finding in findings)
