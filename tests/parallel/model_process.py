"""One of several processes that train an example model together.

Run with the number of processes, this one's, the coordinator's address, the directory for what the first
process writes, the steps, and pairs of model and strategy such as ``llama:fsdp``.
"""

import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from funcnet.core.paths import leaves_with_paths
from tests.parallel.example_models import ALL, spread_run
from tests.several_processes import begin


def gathered(tree):
    """Give the whole of every array to every process."""
    meshes = [leaf.sharding.mesh for leaf in jax.tree.leaves(tree)]
    whole = NamedSharding(meshes[0], PartitionSpec())
    return jax.tree.map(np.asarray, jax.jit(lambda tree: tree, out_shardings=whole)(tree))


def main(count, process, address, directory, steps, *pairs):
    begin(count, process, address)
    for pair in pairs:
        losses, run = spread_run(*pair.split(":"), int(steps), born=int(steps) == ALL)
        arrays = dict(leaves_with_paths(gathered({"params": run.params, "state": run.state})))
        if process == 0:
            np.savez(f"{directory}/{pair.replace(':', '-')}.npz", losses=losses, **arrays)
    print(f"process {process} of {count} is done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
