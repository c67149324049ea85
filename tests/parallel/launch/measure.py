"""How long a job takes to end after each fault: ``python -m tests.parallel.launch.measure --repeats 10``.

Seconds from the fault until no process of the job is left, the launcher included, and all that was promised of it.
"""

import argparse
import statistics
import sys
import timeit

from funcnet import parallel
from tests.parallel.launch.jobs import PROGRAM, run_job
from tests.parallel.launch.test_faults import CLUSTER_FAULTS, FAULTS, JOB, slurm


def show(name, seconds, codes):
    middle, worst = statistics.median(seconds), max(seconds)
    print(f"{name:24} {middle:8.2f} {worst:8.2f}   {sorted(set(codes))}", flush=True)


def measure_alive():
    parallel.alive(0)
    count = 200_000
    return timeit.timeit(lambda: parallel.alive(1), number=count) / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    print(f"alive: {1e9 * measure_alive():.0f} ns a step")
    print(f"{'fault':24} {'median':>8} {'worst':>8}   exit codes")
    for fault, (options, _, _) in FAULTS.items():
        if asked.only and fault not in asked.only:
            continue
        ends = [
            run_job(*JOB, PROGRAM, fault, "--rank", str((repeat + 1) % 2), *options)
            for repeat in range(asked.repeats)
        ]
        show(fault, [end.gone for end in ends], [end.code for end in ends])
    for fault, rank, _, _ in CLUSTER_FAULTS:
        if asked.only and "cluster" not in asked.only:
            continue
        options = ["--rank", str(rank), "--step-timeout", "2.5" if fault == "looping" else "50"]
        ends = [
            run_job(
                commands=[[sys.executable, PROGRAM, fault, *options]] * 2,
                environments=[slurm(100 * rank + repeat, process) for process in (0, 1)],
            )
            for repeat in range(asked.repeats)
        ]
        name = f"cluster, {fault} {rank}"
        show(name, [end.gone for end in ends], [code for end in ends for code in end.codes])


if __name__ == "__main__":
    main()
