"""One of several processes that fit together, with all observers, and go on with what they did."""

import json
import sys
from pathlib import Path

import funcnet as fn
from funcnet import parallel, training
from tests.several_processes import begin
from tests.training.observers.runs import makers
from tests.training.test_on_mesh import RULES, fit, loader


def observers_in(folder):
    made = {name: make() for name, make in makers(folder).items()}
    made["Throughput"] = training.Throughput(every=2)
    made["Checkpoints"] = training.Checkpoints(folder / "copies", every=3)
    return made


def main(count, process, address, folder):
    begin(count, process, address)
    folder = Path(folder)
    sharding = parallel.batch_sharding(mesh := parallel.mesh(data=-1))
    options = {
        "mesh": mesh,
        "rules": RULES["fsdp"],
        "evaluation": loader(shuffle=False, shard=sharding, pad_last=True),
        "checkpoint": folder / "run",
    }
    for epochs in (1, 3):
        observers = observers_in(folder)
        batches = loader(shard=sharding, pad_last=True)
        run, _ = fit(batches=batches, epochs=epochs, observers=[*observers.values()], **options)
    best = observers["KeepBest"]
    found = {
        "best": [best.best, best.best_step, int(best.run.step)],
        "copies": fn.checkpoint.Checkpointer(folder / "copies").steps(),
        "steps": int(run.step),
    }
    (folder / f"found-{process}.json").write_text(json.dumps(found))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
