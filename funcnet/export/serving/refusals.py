"""Answers to requests that cannot be served: what was wrong, and what to send instead."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of the server
    """A request is refused.

    Attributes:
        status: of HTTP.
        content: what is answered, as JSON: ``error`` is a sentence; more where a program can use it.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        error: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, **more}
        self.headers = dict(headers or {})


def wrong_input(name: str, expected: str, got: str, advice: str = "") -> Refusal:
    """Refuse an input: 422, with its name, what was expected and what came."""
    sentence = f"input {name!r}: expected {expected}, got {got}"
    return Refusal(
        422, f"{sentence}; {advice}" if advice else sentence, input=name, expected=expected, got=got
    )
