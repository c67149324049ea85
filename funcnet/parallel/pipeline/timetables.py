"""Timetables: which microbatch each stage of a pipeline runs forward and backward at each tick."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from funcnet.core.checks import check_choice, check_positive

__all__ = ["SCHEDULES", "Timetable", "bubble_fraction", "make_timetable"]


@dataclass(frozen=True, eq=False)
class Timetable:
    """What each stage does at each tick; what it sends to a neighbour arrives there for the next tick.

    Attributes:
        forward: ``(ticks, stages)``, the number of the microbatch to run forward; -1 for none.
        backward: likewise for the backward pass, which follows the forward pass within a tick.
        kept: the most microbatches that a stage has run forward and not yet backward.
    """

    forward: np.ndarray
    backward: np.ndarray
    kept: int


def make_timetable(schedule: str, stages: int, microbatches: int) -> Timetable:
    """Make a timetable in which each stage runs every microbatch forward and then backward.

    Args:
        schedule: ``"1f1b"``: a stage runs one microbatch forward or one backward in a tick, alternately, and
            keeps at most ``stages`` of them. ``"eager-1f1b"``: one forward and one backward in each tick,
            which takes fewer ticks, while the first stage keeps ``2 * stages - 1``.
        stages: of the pipeline.
        microbatches: of a batch.

    Raises:
        ValueError: no such schedule.

    Example:
        >>> from funcnet.parallel.pipeline.timetables import make_timetable
        >>> plan = make_timetable("1f1b", stages=2, microbatches=3)
        >>> plan.forward[:, 0].tolist(), plan.backward[:, 0].tolist(), plan.kept
        ([0, -1, 1, -1, 2, -1, -1, -1], [-1, -1, -1, 0, -1, 1, -1, 2], 2)

    Reference: Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM,
    2021, https://arxiv.org/abs/2104.04473; for the eager form Zhuang et al., On Optimizing the Communication of
    Model Parallelism, 2022, https://arxiv.org/abs/2211.05322.
    """
    check_choice("schedule", schedule, SCHEDULES)
    forward_tick, backward_tick = SCHEDULES[schedule]
    stage, micro = np.meshgrid(np.arange(stages), np.arange(microbatches), indexing="ij")
    begun, ended = forward_tick(stage, micro), backward_tick(stage, micro, stages)
    forward, backward = np.full((2, ended.max() + 1, stages), -1, np.int32)
    forward[begun, stage], backward[ended, stage] = micro, micro
    held = np.cumsum(forward >= 0, 0) - np.cumsum(backward >= 0, 0) + (backward >= 0)
    return Timetable(forward, backward, int(held.max()))


def bubble_fraction(stages: int, microbatches: int) -> float:
    """Return the share of time for which a stage waits: ``(S - 1) / (M + S - 1)``.

    Args:
        stages: ``S``, among which the blocks are divided.
        microbatches: ``M``, into which a batch is cut.

    Returns:
        A fraction, the same for GPipe and 1F1B.

    Raises:
        ValueError: a number that is not positive.

    Example:
        >>> fn.parallel.bubble_fraction(4, 12)
        0.2

    Reference: Huang et al., GPipe, 2019, https://arxiv.org/abs/1811.06965.
    """
    check_positive("stages", stages)
    check_positive("microbatches", microbatches)
    return (stages - 1) / (microbatches + stages - 1)


Ticks = tuple[
    Callable[[np.ndarray, np.ndarray], np.ndarray],
    Callable[[np.ndarray, np.ndarray, int], np.ndarray],
]

SCHEDULES: dict[str, Ticks] = {
    "1f1b": (lambda s, m: s + 2 * m, lambda s, m, stages: 2 * stages - 1 - s + 2 * m),
    "eager-1f1b": (lambda s, m: s + m, lambda s, m, stages: 2 * (stages - 1) - s + m),
}
"""When stage ``s`` runs microbatch ``m`` forward, and when backward."""
