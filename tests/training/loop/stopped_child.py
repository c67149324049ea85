"""One of several processes of which one alone wants a run to end: by an observer, by seconds, at an epoch's end."""

import json
import sys
import time
from pathlib import Path

import jax

from funcnet import parallel, training
from funcnet.training.loop import running
from tests.several_processes import begin
from tests.training.test_on_mesh import RULES, fit, loader


class OneStops(training.Observer):
    """Stops in the last process only, and notes what is called where."""

    def __init__(self, method, step):
        self.every, self.method, self.step, self.calls = 1, method, step, []

    def _look(self, method, loop):
        self.calls.append((method, loop.step))
        last = jax.process_index() == jax.process_count() - 1
        if last and method == self.method and loop.step == self.step:
            loop.stop("this process has enough")

    def on_step(self, loop):
        self._look("on_step", loop)
        assert loop.metrics["loss"] > 0

    def on_evaluation(self, loop):
        self._look("on_evaluation", loop)

    def on_epoch(self, loop):
        self._look("on_epoch", loop)

    def on_end(self, loop):
        self._look("on_end", loop)
        self.first, self.reason = loop.first, loop.reason


class FastClock:
    """A clock that runs ahead in the first process."""

    def __init__(self, batches):
        self.batches, self.now = batches, 0.0

    def monotonic(self):
        return self.now

    def __iter__(self):
        for batch in self.batches:
            self.now += 1.0 if jax.process_index() == 0 else 0.01
            yield batch

    def __getattr__(self, name):
        return getattr(self.__dict__["batches"], name)


def main(count, process, address, folder):
    begin(count, process, address)
    mesh = parallel.mesh(data=-1)
    sharding = parallel.batch_sharding(mesh)
    made = lambda **options: loader(shard=sharding, pad_last=True, **options)

    def run(batches, **options):
        run, history = fit(
            batches=batches,
            mesh=mesh,
            rules=RULES["fsdp"],
            evaluation=made(shuffle=False),
            **options,
        )
        steps = [record["step"] for record in history.records if "eval/loss" in record]
        return [int(run.step), steps, history.reason]

    found = {}
    for name, method, step in (
        ("step", "on_step", 4), ("evaluation", "on_evaluation", 3), ("epoch", "on_epoch", 6),
    ):  # fmt: skip
        one = OneStops(method, step)
        found[name] = run(made(), epochs=5, observers=[one])
        found[f"{name} calls"] = one.calls
        assert one.first == (process == "0")
    clock = FastClock(made())
    running.time = clock
    found["seconds"] = run(clock, seconds=2)
    running.time = time
    found["steps"] = run(made(), steps=4, evaluate_every=2)
    (Path(folder) / f"stopped-{process}.json").write_text(json.dumps(found))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
