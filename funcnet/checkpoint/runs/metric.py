"""Which step is the best by a metric."""

import math
import re
from collections.abc import Mapping

__all__ = ["best_step"]

_TO_MINIMIZE = re.compile(r"loss|err|perplexity|nll|mse|mae|distance|cost", re.IGNORECASE)
"""Metrics of which less is better, by their names."""


def best_step(
    metrics: Mapping[int, Mapping[str, float]], metric: str | None, mode: str | None = None
) -> int | None:
    """Find the step of a metric's best value, the newest of equals; steps without it, or with NaN, take no part.

    Args:
        metrics: the metrics of each step.
        metric: the name.
        mode: ``"max"`` or ``"min"``; without it, ``"min"`` if the name tells of a loss, an error, a perplexity, a
            distance or a cost, else ``"max"``.

    >>> best_step({1: {"loss": 2.0}, 2: {"loss": 1.0}, 3: {}}, "loss")
    2
    """
    if metric is None:
        return None
    mode = mode or ("min" if _TO_MINIMIZE.search(metric) else "max")
    sign = 1 if mode == "max" else -1
    values = {
        step: sign * numbers[metric]
        for step, numbers in metrics.items()
        if not math.isnan(numbers.get(metric, math.nan))
    }
    return max(values, key=lambda step: (values[step], step), default=None)
