"""How long a job takes to end after each fault: ``python -m tests.parallel.launch.measure --repeats 10``.

Seconds from the fault until no process of the job is left, the launcher included, and all that was promised of it.
"""

import argparse
import statistics
import sys
import time
import timeit
from functools import partial

from funcnet import parallel
from tests.parallel.launch.test_faults import CLUSTER_FAULTS, FAULTS, run_cluster, run_with_fault


def measure(name, runs):
    """Run all, each of which checks what is left and what is printed, and print their times."""
    seconds, codes = [], set()
    for run in runs:
        try:
            ended = run()
        except AssertionError as error:
            print(f"{name}: {str(error)[:2000]}", file=sys.stderr, flush=True)
        else:
            seconds.append(ended.gone)
            codes |= set(ended.codes)
    middle, worst = statistics.median(seconds), max(seconds)
    print(
        f"{name:20} {len(seconds)}/{len(runs)} {middle:8.2f} {worst:8.2f}   {sorted(codes)}",
        flush=True,
    )


def measure_alive():
    parallel.alive(0)
    count = 200_000
    # of this process: what else the machine does is not its cost
    return timeit.timeit(lambda: parallel.alive(1), timer=time.process_time, number=count) / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    print(f"alive: {1e9 * measure_alive():.0f} ns a step")
    print(f"{'fault':20} right {'median':>7} {'worst':>8}   exit codes")
    for fault in FAULTS:
        if not asked.only or fault in asked.only:
            measure(
                fault, [partial(run_with_fault, fault, (n + 1) % 2) for n in range(asked.repeats)]
            )
    for row in CLUSTER_FAULTS:
        if not asked.only or "cluster" in asked.only:
            name = f"cluster, {row[0]} {row[1]}"
            measure(name, [partial(run_cluster, *row, job=100 + n) for n in range(asked.repeats)])


if __name__ == "__main__":
    main()
