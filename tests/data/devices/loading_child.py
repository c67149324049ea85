"""One of several processes that load batches together: global arrays are what one process would have made."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from funcnet import data
from tests.several_processes import begin

SAMPLES, BATCH = 22, 8
ARRAYS = {"i": np.arange(SAMPLES), "x": np.arange(SAMPLES * 3, dtype=np.float32).reshape(-1, 3)}


class Lines(data.IterableDataset):
    def __iter__(self):
        return ({"i": i, "x": ARRAYS["x"][i]} for i in range(SAMPLES))


SOURCES = {
    "dataset": lambda **options: data.DataLoader(
        data.ArrayDataset(ARRAYS), BATCH, shuffle=True, seed=4, pad_last=True, **options
    ),
    "stream": lambda **options: data.DataLoader(Lines(), BATCH, pad_last=True, **options),
}

MESHES = {
    "rows over all": ((-1,), ("data",), ("data",)),
    "rows over processes": ((2, -1), ("data", "model"), ("data",)),
    "rows within processes": ((2, -1), ("model", "data"), ("data",)),
    "rows over both": ((2, -1), ("data", "fsdp"), (("data", "fsdp"),)),
}


def rows_on(name):
    sizes, names, spec = MESHES[name]
    count = len(jax.devices())
    sizes = [count // (2 if len(sizes) > 1 else 1) if size == -1 else size for size in sizes]
    kinds = (jax.sharding.AxisType.Auto,) * len(sizes)
    return NamedSharding(jax.make_mesh(tuple(sizes), names, kinds), P(*spec))


def check_parts(array, whole):
    assert array.shape == whole.shape
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), whole[shard.index])


def epochs_are_whole(source, mesh, how):
    sharding = rows_on(mesh)
    shard = sharding if how == "sharding" else how
    on_devices = data.prefetch_to_device(SOURCES[source](shard=shard), sharding=sharding)
    alone = SOURCES[source]()
    for _ in range(2):
        seen = []
        for batch, whole in zip(on_devices, alone, strict=True):
            jax.tree.map(check_parts, batch, whole)
            seen += whole["i"][whole["valid"]].tolist()
        assert sorted(seen) == list(range(SAMPLES))


def parts_of_other_sizes():
    """Processes whose own batches end differently agree on one size."""
    process, sharding = jax.process_index(), rows_on("rows over all")
    sizes = {0: [3, 4, 1], 1: [3, 2, 3]}[process]
    made = list(
        data.prefetch_to_device(
            [{"x": np.full(size, size, np.int32)} for size in sizes], sharding=sharding, pad=True
        )
    )
    for batch, *both in zip(made, [3, 4, 1], [3, 2, 3], strict=True):
        assert batch["x"].shape == batch["valid"].shape == (8,)
        count = jax.jit(lambda batch: (batch["valid"].sum(), (batch["x"] * batch["valid"]).sum()))
        assert [int(n) for n in count(batch)] == [sum(both), sum(n * n for n in both)]
    larger = data.prefetch_to_device([np.ones(2), np.ones(5)], sharding=sharding, pad=True)
    with pytest.raises(ValueError, match=r"5 rows, more than the first one \(2 with"):
        list(larger)


def mistakes():
    sharding = rows_on("rows over all")
    with pytest.raises(ValueError, match=r"shard=\(0, 1\).*holds part \d of 2.*shard=sharding"):
        data.prefetch_to_device(SOURCES["dataset"](), sharding=sharding)
    within = rows_on("rows within processes")
    with pytest.raises(ValueError, match=r"holds part 0 of 1"):
        data.prefetch_to_device(SOURCES["dataset"](shard="process"), sharding=within)


def main(count, process, address, folder):
    begin(count, process, address)
    folder = Path(folder)
    for source in SOURCES:
        epochs_are_whole(source, "rows over all", "process")
        for mesh in MESHES:
            epochs_are_whole(source, mesh, "sharding")
    parts_of_other_sizes()
    mistakes()
    # go on where another number of processes stopped, and stop again
    sharding, seen = rows_on("rows over all"), {}
    for source, make in SOURCES.items():
        on_devices = data.prefetch_to_device(make(shard=sharding), sharding=sharding)
        on_devices.load_state_dict(json.loads((folder / f"{source}.json").read_text()))
        batch = next(iter(on_devices))
        parts = [shard.data for shard in batch["i"].addressable_shards]
        seen[source] = [np.concatenate(parts).tolist(), on_devices.state_dict()]
    (folder / f"seen-{process}.json").write_text(json.dumps(seen))
    print(f"process {process} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
