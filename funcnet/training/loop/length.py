"""Length: when a run ends, and when it is evaluated."""

import math
from dataclasses import dataclass
from typing import Any

from funcnet.core.checks import check_count, check_non_negative, check_positive

__all__ = ["Epochs", "Length", "check_length"]


@dataclass(frozen=True)
class Epochs:
    """A number of epochs, where a plain number would be one of steps: ``evaluate_every=training.Epochs(2)``.

    Args:
        number: of epochs, at least 1.

    Example:
        >>> fn.training.Epochs(2)
        Epochs(number=2)
    """

    number: int

    def __post_init__(self) -> None:
        check_count("Epochs", self.number)
        check_positive("Epochs", self.number)


@dataclass(frozen=True)
class Length:
    """When a run ends, the first of its limits reached, and when it is evaluated.

    Attributes:
        epochs: how many at most.
        steps: how many at most.
        seconds: how many at most.
        evaluate_every: after how many steps or epochs.

    Example:
        >>> from funcnet.training.loop.length import Length
        >>> Length(steps=10).reached(epochs=3, steps=10, seconds=0.5)
        True
    """

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    evaluate_every: int | Epochs = Epochs(1)

    def reached(self, epochs: int, steps: int, seconds: float) -> bool:
        """Tell whether whole epochs, steps or seconds are enough."""
        return (
            (self.epochs is not None and epochs >= self.epochs)
            or (self.steps is not None and steps >= self.steps)
            or (self.seconds is not None and seconds >= self.seconds)
        )

    def evaluates_after_step(self, step: int) -> bool:
        """Tell whether a step is followed by an evaluation."""
        return isinstance(self.evaluate_every, int) and step % self.evaluate_every == 0

    def evaluates_after_epoch(self, epoch: int) -> bool:
        """Tell whether a whole epoch is followed by an evaluation."""
        return isinstance(self.evaluate_every, Epochs) and epoch % self.evaluate_every.number == 0


def check_length(
    epochs: Any, steps: Any, seconds: Any, evaluate_every: Any, evaluation: Any
) -> Length:
    """Check what `fit` is told of a run's length and its evaluations.

    Raises:
        ValueError: no length, a negative one, or evaluations of nothing.
        TypeError: something that is no number.

    Example:
        >>> from funcnet.training.loop.length import check_length
        >>> check_length(3, None, None, None, None).epochs
        3
    """
    if epochs is None and steps is None and seconds is None:
        raise ValueError(
            "fit needs a length: epochs=10, steps=5000 or seconds=3600; of several, the first reached ends the run"
        )
    for name, number in (("epochs", epochs), ("steps", steps)):
        if number is not None:
            if isinstance(number, bool) or not hasattr(number, "__index__"):
                raise TypeError(f"{name} must be a whole number; got {number!r}")
            check_non_negative(name, number)
    if seconds is not None:
        check_non_negative("seconds", seconds)
        if math.isnan(seconds):
            raise ValueError("seconds must be a number of seconds; got nan")
    if evaluate_every is None:
        evaluate_every = Epochs(1)
    elif evaluation is None:
        raise ValueError(
            f"evaluate_every={evaluate_every!r} says when to evaluate: pass evaluation=, the batches to do it on, too"
        )
    elif not isinstance(evaluate_every, Epochs):
        if isinstance(evaluate_every, bool) or not hasattr(evaluate_every, "__index__"):
            raise TypeError(
                "evaluate_every must be a number of steps, such as 500, or of epochs, training.Epochs(2); got "
                f"{evaluate_every!r}"
            )
        check_positive("evaluate_every", evaluate_every)
        evaluate_every = int(evaluate_every)
    return Length(epochs, steps, seconds, evaluate_every)
