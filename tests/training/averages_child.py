"""One of several processes that evaluate and predict together, each with its part of the samples."""

import json
import sys
from pathlib import Path

import numpy as np

from funcnet import data, parallel, training
from tests.several_processes import begin


def main(count, process, address, folder):
    begin(count, process, address)
    # makes arrays, which comes after the beginning
    from tests.training.test_metrics_of_a_run import METRICS, NET, OBJECTIVE, RUN, samples

    chosen = {name: METRICS[name] for name in ("acc", "matrix", "score")}
    mesh = parallel.mesh(data=-1)
    part = data.DataLoader(
        data.ArrayDataset(samples()), 4, shard=parallel.batch_sharding(mesh), pad_last=True
    )
    found = training.evaluate(OBJECTIVE, RUN, part, metrics=chosen, mesh=mesh)
    outputs = training.predict(NET, RUN.params, RUN.state, part, inputs="x", mesh=mesh)
    values = {name: np.asarray(value).tolist() for name, value in found.items()}
    told = {"values": values, "outputs": outputs.tolist()}
    (Path(folder) / f"found-{process}.json").write_text(json.dumps(told))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
