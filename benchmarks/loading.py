"""How fast data is loaded, beside a bare NumPy loop, PyTorch and Grain: ratios, in one process.

``python -m benchmarks.loading``          the table
``python -m benchmarks.loading --stress 300 --faults 50``   and the endurance tests
"""

import argparse
import contextlib
import gc
import os
import random
import signal
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import data

SAMPLES, BATCH = 60_000, 128


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    gc.collect()
    begin = clock()
    run()
    return clock() - begin


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time each run in turn, several times over, and take the shortest: what is least disturbed."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, clock))
    return {name: min(values) for name, values in times.items()}


def drain(loader: object, count: int | None = None) -> None:
    for number, _ in enumerate(loader, 1):  # type: ignore[arg-type]
        if number == count:
            break


def line(what: str, value: float, bar: float, at_least: bool = True, unit: str = "x") -> None:
    met = value >= bar if at_least else value <= bar
    sign = ">=" if at_least else "<="
    print(
        f"{what:<66}{value:>9.2f} {unit:<3} {sign} {bar:<6g}{'' if met else '  MISSED'}", flush=True
    )


def in_memory(rounds: int, results: ResultsFile) -> None:
    """60,000 images in memory, shuffled, batch 128."""
    images = np.random.default_rng(0).integers(0, 256, (SAMPLES, 28, 28), np.uint8)

    def bare() -> None:
        order = np.random.default_rng(0).permutation(SAMPLES)
        for start in range(0, SAMPLES, BATCH):
            images[order[start : start + BATCH]]

    loader = data.DataLoader(data.ArrayDataset(images), BATCH, shuffle=True)
    # Processor time: with one thread on either side, other programs do not disturb it.
    times = interleaved({"bare": bare, "ours": lambda: drain(loader)}, rounds, time.process_time)
    results.add("an epoch in memory, against bare NumPy; processor time", times, "bare")
    line("in memory, against a bare NumPy gather", times["bare"] / times["ours"], 0.9)
    # The others by the clock, in turns of about equal length.
    epochs = 10

    def ours() -> None:
        for _ in range(epochs):
            drain(loader)

    runs: dict[str, tuple[Callable[[], object], int]] = {"ours": (ours, epochs * SAMPLES)}
    with contextlib.suppress(ImportError):
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        theirs = DataLoader(TensorDataset(torch.from_numpy(images)), BATCH, shuffle=True)
        runs["PyTorch"] = (lambda: drain(theirs), SAMPLES)
    with contextlib.suppress(ImportError):
        import grain

        pipeline = grain.MapDataset.source(images).shuffle(seed=0).batch(BATCH).to_iter_dataset()
        runs["Grain"] = (lambda: drain(pipeline, 100), 100 * BATCH)
    best = interleaved({name: run for name, (run, _) in runs.items()}, rounds)
    rates = {name: samples / best[name] for name, (_, samples) in runs.items()}
    each = {name: best[name] / samples for name, (_, samples) in runs.items()}
    results.add("a thousand samples in memory", {k: 1e3 * v for k, v in each.items()}, "ours")
    print(f"in memory: {rates['ours'] / 1e3:,.0f} k samples/s")
    for name, bar in (("PyTorch", 15), ("Grain", 50)):
        if name in rates:
            what = f"in memory, against {name} ({rates[name] / 1e3:,.0f} k samples/s)"
            line(what, rates["ours"] / rates[name], bar)
        else:
            print(f"in memory, against {name}: skipped, it is not installed")


class Work:
    """Pure Python that takes about two milliseconds, as a fixed number of steps."""

    def __init__(self) -> None:
        self.steps = 1000
        once = min(seconds(lambda: self(0)) for _ in range(20))
        self.steps = int(1000 * 2e-3 / once)

    def __call__(self, sample: int) -> int:
        """Do the work and return the sample."""
        total = 0
        for step in range(self.steps):
            total += step ^ sample
        return sample


class Items:
    """The same work as a dataset, for PyTorch."""

    def __init__(self, work: Work, length: int) -> None:
        self.work = work
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return self.work(index)


def python_transform(rounds: int, results: ResultsFile, length: int = 512) -> None:
    """Compare processes on a transform in Python, 2 ms a sample."""
    dataset = Items(Work(), length)

    def loader(workers: int) -> data.DataLoader:
        return data.DataLoader(
            dataset, 16, num_workers=workers, workers="process", persistent_workers=True
        )

    one, two = loader(1), loader(2)
    runs = {"one": lambda: drain(one), "two": lambda: drain(two)}
    with contextlib.suppress(ImportError):
        from torch.utils.data import DataLoader

        theirs = DataLoader(dataset, 16, num_workers=2, persistent_workers=True)
        runs["torch"] = lambda: drain(theirs)
    for run in runs.values():
        run()  # starts the workers
    times = interleaved(runs, rounds)
    results.add("512 samples, 2 ms of Python each", times, "one")
    line("Python transform, 2 processes against 1", times["one"] / times["two"], 1.8)
    if "torch" in times:
        line("Python transform, 2 processes against PyTorch's", times["torch"] / times["two"], 1.0)
    one.close()
    two.close()


def normalise(sample: np.ndarray) -> np.ndarray:
    """Compute in place, so that the processor and not the memory is what limits."""
    values = sample.astype(np.float32)
    for _ in range(8):
        np.sin(values, out=values)
        np.multiply(values, values, out=values)
        np.add(values, 1, out=values)
        np.sqrt(values, out=values)
    return values


def numpy_transform(rounds: int) -> None:
    """Compare threads on transforms in NumPy, which lets go of the interpreter lock."""
    images = np.random.default_rng(0).integers(0, 256, (256, 128, 128, 3), np.uint8)
    dataset = data.map(normalise, data.ArrayDataset(images))
    one = data.DataLoader(dataset, 8, num_workers=1)
    two = data.DataLoader(dataset, 8, num_workers=2)

    def bare(count: int) -> None:
        def work(part: np.ndarray) -> None:
            for image in part:
                normalise(image)

        threads = [threading.Thread(target=work, args=(images[k::count],)) for k in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    runs = {"one": lambda: drain(one), "two": lambda: drain(two)}
    runs |= {"bare one": lambda: bare(1), "bare two": lambda: bare(2)}
    times = interleaved(runs, rounds)
    line("NumPy transform, 2 threads against 1", times["one"] / times["two"], 1.7)
    machine = times["bare one"] / times["bare two"]
    print(
        f"    (the transform alone in bare threads, which is what the machine gives: {machine:.2f} x)"
    )


def proportional(pids: list[int]) -> float:
    """Sum the memory of processes in MB, each shared page in parts; pages of files are not copies."""
    total = 0
    for pid in pids:
        for entry in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if entry.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(entry.split()[1])
    return total / 1024


def children() -> list[int]:
    return [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def first_batch() -> None:
    """Time to the first batch of 2 processes, and what the workers add to memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.bin"
        rows = 4 * 1024**3 // 784
        with path.open("wb") as file:
            file.truncate(rows * 784)  # a hole: no 4 GB need be written for pages to be shared
        mapped = np.memmap(path, np.uint8, "r", shape=(rows, 784))
        small = np.ones((512 * 1024**2 // 784, 784), np.uint8)
        shared = data.share(data.ArrayDataset(small))
        del small
        for name, dataset in (
            ("4 GB mapped", data.ArrayDataset(mapped)),
            ("0.5 GB shared", shared),
        ):
            before = proportional([os.getpid()])
            loader = data.DataLoader(dataset, 64, shuffle=True, num_workers=2, workers="process")
            begin = time.perf_counter()
            batches = iter(loader)
            next(batches)
            line(f"first batch, 2 processes, {name}", time.perf_counter() - begin, 1.0, False, "s")
            drain(batches, 200)
            # Python and NumPy themselves take some 25 MB a process.
            added = proportional([os.getpid(), *children()]) - before
            line(f"memory of 2 workers, {name}", added, 120, False, "MB")
            batches.close()


def long_shuffle() -> None:
    """Begin a shuffle of a hundred million."""

    class Numbers:
        def __len__(self) -> int:
            return 100_000_000

        def __getitem__(self, index: int) -> int:
            return index

    tracemalloc.start()
    next(iter(data.DataLoader(Numbers(), BATCH, shuffle=True)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    took = min(
        seconds(lambda: next(iter(data.DataLoader(Numbers(), BATCH, shuffle=True))))
        for _ in range(5)
    )
    line("100 M shuffle, first batch", 1e3 * took, 10, False, "ms")
    line("100 M shuffle, memory", peak / 1e6, 10, False, "MB")


def footprint() -> tuple[int, int, int]:
    """Count open files, processes and threads."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(children()), threading.active_count()


def stress(epochs: int) -> None:
    """Epochs with process workers beside a running jitted step: no hang, nothing left over."""
    import jax
    import jax.numpy as jnp

    images = np.random.default_rng(0).random((256, 784), np.float32)
    loader = data.DataLoader(
        data.ArrayDataset(images), 64, shuffle=True, num_workers=2, workers="process", timeout=60
    )
    step = jax.jit(lambda weight, x: weight - 1e-3 * jnp.tanh(x @ weight).sum())
    weight = jnp.ones((784, 256))
    before = None
    for epoch in range(epochs):
        for batch in data.prefetch_to_device(loader):
            weight = step(weight, batch)
        del batch
        if epoch == 4:
            before = footprint()
    weight.block_until_ready()
    after = footprint()
    print(f"stress: {epochs} epochs; open files, processes, threads {before} -> {after}")
    assert before is None or after <= before, "something leaks"


def faults(count: int) -> None:
    """Kill a worker at a random moment, again and again: always reported, nothing left over."""
    rng = random.Random(0)
    images = np.zeros((512, 784), np.float32)
    before = footprint()
    reported, slowest = 0, 0.0
    for _ in range(count):
        loader = data.DataLoader(
            data.ArrayDataset(images), 4, num_workers=2, workers="process", timeout=60
        )
        batches = iter(loader)
        taken = rng.randrange(1, 60)
        drain(batches, taken)
        victim = rng.choice(children())
        time.sleep(rng.random() * 0.01)
        os.kill(victim, signal.SIGKILL)
        begin = time.perf_counter()
        try:
            drain(batches)
        except data.WorkerDiedError:
            reported += 1
        slowest = max(slowest, time.perf_counter() - begin)
        del batches, loader
    after = footprint()
    print(
        f"faults: {count} kills, {reported} reported, the rest after the last batch had been made;"
        f" slowest {slowest:.2f} s; open files, processes, threads {before} -> {after}"
    )
    assert after <= before, "something leaks"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is timed")
    parser.add_argument("--stress", type=int, default=0, help="epochs of the endurance test")
    parser.add_argument("--faults", type=int, default=0, help="workers to kill")
    parser.add_argument("--only", choices=["table", "endurance"], help="leave the other part out")
    add_json_argument(parser)
    arguments = parser.parse_args()
    results = ResultsFile(arguments.json, "loading", "wall clock, the shortest of several turns")
    if arguments.only != "endurance":
        in_memory(3 * arguments.rounds, results)
        python_transform(min(arguments.rounds, 3), results)
        numpy_transform(arguments.rounds)
        first_batch()
        long_shuffle()
    if arguments.only != "table":
        if arguments.faults:
            faults(arguments.faults)
        if arguments.stress:
            stress(arguments.stress)


if __name__ == "__main__":
    main()
