"""Saves in a loop until it is killed; every leaf of a step carries the step's number.

Run with a directory, "sync" or "async", and the first step.
"""

import itertools
import sys

import numpy as np

import funcnet as fn


def tree_of(step):
    arrays = [np.full((257, 129), step, np.float32), np.full(3, step, np.int32)]
    return {
        "arrays": arrays,
        "step": step,
        "text": str(step),
        "many": {f"{i}": np.int32(step) for i in range(30)},
    }


def main(directory, kind, first):
    checkpointer = fn.checkpoint.Checkpointer(
        directory, keep=2, best="score", asynchronous=kind == "async"
    )
    for step in itertools.count(int(first)):
        checkpointer.save(step, tree_of(step), metrics={"score": step % 7}, metadata={"step": step})
        if step % 5 == 0:  # a step that is there is replaced
            checkpointer.save(
                step, tree_of(step), metrics={"score": step % 7}, metadata={"step": step}
            )
        print(step, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
