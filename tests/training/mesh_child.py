"""One of several processes that fit together, go on with another's run, and are interrupted."""

import json
import signal
import sys
from pathlib import Path

import jax

import funcnet as fn
from funcnet import parallel
from tests.several_processes import begin
from tests.training.test_on_mesh import NET, RULES, fit, loader


class Interrupted:
    """Batches at one of which one process is interrupted."""

    def __init__(self, batches, at):
        self.batches, self.at = batches, at

    def __iter__(self):
        for number, batch in enumerate(self.batches):
            if number == self.at and jax.process_index() == 1:
                signal.raise_signal(signal.SIGINT)
            yield batch

    def __getattr__(self, name):
        return getattr(self.__dict__["batches"], name)


def main(count, process, address, folder):
    begin(count, process, address)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    mesh = parallel.mesh(data=-1)
    sharding = parallel.batch_sharding(mesh)
    options = {
        "mesh": mesh,
        "rules": RULES["fsdp"],
        "checkpoint": f"{folder}/run",
        "evaluation": loader(shuffle=False, shard=sharding, pad_last=True),
        "progress": True,
    }
    batches = loader(shard=sharding, pad_last=True)
    _, history = fit(batches=Interrupted(batches, 0), epochs=6, **options)
    first = [history.interrupted, int(history.records[-1]["step"])]
    run, history = fit(batches=batches, epochs=4, **options)
    spread = [
        name for name, leaf in fn.state_dict(NET.module, run.params).items()
        if not leaf.sharding.is_fully_replicated
    ]  # fmt: skip
    found = {"first": first, "records": history.records, "spread": spread}
    (Path(folder) / f"found-{process}.json").write_text(json.dumps(found))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
