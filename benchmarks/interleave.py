"""Fair timing on a shared machine: the sides take turns, and the ratio of medians is what counts."""

import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["choose_clock", "interleave", "table"]


def interleave(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    repeat: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time each side ``rounds`` times in turn and return the median seconds of one call.

    The order is drawn anew each round, so that no side always follows the same other one.

    Args:
        sides: names to functions that finish their work before they return.
        rounds: turns of each side.
        repeat: calls in one turn, for very short work.
        clock: ``time.process_time`` counts the processor's time alone, for a machine that others use.
    """
    for run in sides.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    order, generator = list(sides.items()), random.Random(0)
    gc.disable()
    try:
        for _ in range(rounds):
            generator.shuffle(order)
            for name, run in order:
                started = clock()
                for _ in range(repeat):
                    run()
                times[name].append((clock() - started) / repeat)
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in times.items()}


def table(
    title: str,
    medians: Mapping[str, float],
    reference: str,
    mebibytes: Mapping[str, float] | None = None,
) -> str:
    """Lay out medians, their ratios to a reference side, and memory where it was measured."""
    width = max(map(len, medians))
    lines = [title]
    for name, seconds in medians.items():
        memory = f"  {mebibytes[name]:7.1f} MiB" if mebibytes and name in mebibytes else ""
        lines.append(
            f"  {name:<{width}}  {seconds * 1e3:9.3f} ms  {seconds / medians[reference]:6.2f}{memory}"
        )
    return "\n".join(lines)


def choose_clock(one_core: bool) -> tuple[Callable[[], float], str]:
    """Return the clock that measures, and what it is called in results; call it before any side starts its threads.

    Args:
        one_core: hold this process to one core and count the processor's time, for a machine that others use.
    """
    if not one_core:
        return time.perf_counter, "wall clock"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    return time.process_time, "processor time on one core"
