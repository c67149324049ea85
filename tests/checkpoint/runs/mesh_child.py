"""One of two processes: it restores what one process saved, onto every layout, and saves on every layout."""

import itertools
import sys

import jax

import funcnet as fn
from tests.checkpoint.runs.mesh_layouts import LAYOUTS, OPTIMIZERS, check_equal, needs, run_on
from tests.several_processes import begin


def main(count, process, address, folder):
    begin(count, process, address)
    everywhere = [layout for layout in LAYOUTS if needs(layout) == jax.device_count()]
    for optimizer in OPTIMIZERS:
        with fn.checkpoint.Checkpointer(f"{folder}/theirs-{optimizer}", keep=None) as theirs:
            for layout, step in itertools.product(everywhere, theirs.steps()[-1:]):
                expected = run_on(layout, optimizer, step)
                check_equal(theirs.restore(expected, step=step)[0], expected)
        with fn.checkpoint.Checkpointer(f"{folder}/ours-{optimizer}", keep=None) as ours:
            for step, layout in enumerate(everywhere):
                ours.save(step, run_on(layout, optimizer, step))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
