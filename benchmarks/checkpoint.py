"""How fast arrays are saved and loaded, beside safetensors, PyTorch and Orbax, and how much memory it takes.

``python -m benchmarks.checkpoint``             1 GiB of float32 in 100 arrays
``python -m benchmarks.checkpoint --mib 256``   less

Each turn is a process of its own, so that no side profits from another's memory; the sides take turns, in an order
drawn anew each round. All of them have the bytes on the disk when the clock stops (fsync), and load from the system's
cache. Memory is the peak above what the caller holds: the arrays that are saved, or those that were loaded.

Then how long a step waits for a `Checkpointer` that writes in the background, beside a plain copy of the arrays.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ARRAYS = 100
Arrays = dict[str, Any]


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def funcnet(ending: str) -> Callable[[], tuple[Any, Any, Any]]:
    def side() -> tuple[Any, Any, Any]:
        from funcnet import checkpoint

        name = f"arrays.{ending}"
        return (
            lambda path, arrays: checkpoint.save_arrays(path / name, arrays),
            lambda path: checkpoint.load_arrays(path / name),
            None,
        )

    return side


def safetensors() -> tuple[Any, Any, Any]:
    from safetensors.numpy import load_file, save_file

    def save(path: Path, arrays: Arrays) -> None:
        save_file(arrays, path / "arrays")
        sync(path / "arrays")

    return save, lambda path: load_file(path / "arrays"), None


def pytorch() -> tuple[Any, Any, Any]:
    import torch

    def save(path: Path, arrays: Arrays) -> None:
        torch.save(arrays, path / "arrays.pt")
        sync(path / "arrays.pt")

    return save, lambda path: torch.load(path / "arrays.pt", weights_only=True), torch.from_numpy


def orbax() -> tuple[Any, Any, Any]:
    import orbax.checkpoint as ocp

    checkpointer = ocp.PyTreeCheckpointer()
    return (
        lambda path, arrays: checkpointer.save(path / "tree", arrays),
        lambda path: checkpointer.restore(path / "tree"),
        None,
    )


SIDES: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "funcnet": funcnet("safetensors"),
    "funcnet .pt": funcnet("pt"),
    "safetensors.numpy": safetensors,
    "torch": pytorch,
    "orbax": orbax,
}

REFERENCE = "safetensors.numpy"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def turn(name: str, what: str, path: Path, mib: int) -> None:
    """Do one thing in this process, and print the seconds and the bytes that it took beside the arrays."""
    save, load, convert = SIDES[name]()
    arrays: Arrays = {}
    rng = np.random.default_rng(0)
    for number in range(ARRAYS if what == "save" else 0):
        array = rng.random((mib * 2**18) // ARRAYS, np.float32)
        arrays[f"layers.{number}.weight"] = convert(array) if convert else array
    before = resident()
    begin = time.perf_counter()
    held = save(path, arrays) if what == "save" else load(path)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if what == "load":
        peak -= sum(array.nbytes for array in held.values())
    print(json.dumps([seconds, peak]))


def run(name: str, what: str, path: Path, mib: int) -> tuple[float, float] | None:
    """Have another process do it; None if the library is not installed."""
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--turn", name, what, str(path)]
    done = subprocess.run(
        [*command, "--mib", str(mib)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if "ModuleNotFoundError" not in done.stderr:
            print(done.stderr, file=sys.stderr)
        return None
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def rounds(folder: Path, mib: int, count: int) -> dict[tuple[str, str], list[tuple[float, float]]]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    order, generator = list(SIDES), random.Random(0)
    for _ in range(count):
        generator.shuffle(order)
        for name in order:
            path = Path(tempfile.mkdtemp(dir=folder))
            for what in ("save", "load"):
                result = run(name, what, path, mib)
                if result is None:
                    break
                found[name, what].append(result)
            shutil.rmtree(path)
    return found


def report(found: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    """Print medians, and medians of the ratios within a round: a busy disk slows a whole round."""
    for what in ("save", "load"):
        base = [seconds for seconds, _ in found[REFERENCE, what]]
        print(f"{what:<20} {'median s':>9} {'least s':>9} {'ratio':>7} {'peak MiB':>9}")
        for name in SIDES:
            results = found.get((name, what))
            if not results:
                print(f"  {name:<18} not installed")
                continue
            times = [seconds for seconds, _ in results]
            ratio = statistics.median(a / b for a, b in zip(times, base, strict=False))
            peak = statistics.median(peak for _, peak in results) / 2**20
            print(
                f"  {name:<18} {statistics.median(times):9.2f} {min(times):9.2f} {ratio:7.2f} {peak:9.0f}"
            )


def delay(folder: Path, mib: int, count: int) -> None:
    """Print for how long `Checkpointer.save` holds up whoever calls it."""
    import jax

    from funcnet.checkpoint import Checkpointer

    rng = np.random.default_rng(0)
    tree = {
        str(i): jax.device_put(rng.random(mib * 2**18 // ARRAYS, np.float32)) for i in range(ARRAYS)
    }
    times: dict[str, list[float]] = defaultdict(list)
    with Checkpointer(folder / "run", keep=1) as checkpointer:
        for step in range(count + 1):  # the first round warms up
            begin = time.perf_counter()
            copies = [np.array(array, copy=True) for array in tree.values()]
            copied = time.perf_counter()
            del copies
            again = time.perf_counter()
            checkpointer.save(step, tree)
            saved = time.perf_counter()
            checkpointer.wait()
            written = time.perf_counter()
            for name, seconds in (
                ("a copy", copied - begin),
                ("save returns", saved - again),
                ("it is written", written - again),
            ):
                times[name].append(seconds)
    print(f"a step that saves {mib} MiB in the background, {count} rounds")
    print(f"{'':<20} {'median s':>9} {'ratio':>7}")
    for name, seconds in times.items():
        ratio = statistics.median(
            a / b for a, b in zip(seconds[1:], times["a copy"][1:], strict=True)
        )
        print(f"  {name:<18} {statistics.median(seconds[1:]):9.3f} {ratio:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="of arrays")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--folder", type=Path, help="where to write; the system's for temporary files"
    )
    parser.add_argument("--turn", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        name, what, path = args.turn
        turn(name, what, Path(path), args.mib)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(f"{args.mib} MiB of float32 in {ARRAYS} arrays, {args.rounds} rounds")
        report(rounds(Path(folder), args.mib, args.rounds))
        delay(Path(folder), min(args.mib, 256), args.rounds)


if __name__ == "__main__":
    main()
