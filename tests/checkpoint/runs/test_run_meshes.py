"""Whole runs, with optimizer states spread in every way, from any mesh to any other, of one process and of two."""

import itertools

import jax
import numpy as np
import pytest

import funcnet as fn
from tests.checkpoint.runs.mesh_layouts import (
    LAYOUTS,
    OPTIMIZERS,
    check_equal,
    is_random_key,
    needs,
    run_on,
)
from tests.several_processes import run_together

EVERYWHERE = [layout for layout in LAYOUTS if needs(layout) == 4]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_from_any_mesh_to_any_other(optimizer, tmp_path, pytestconfig):
    whole = pytestconfig.getoption("grid") == "full"
    layouts = [*LAYOUTS] if whole or optimizer == "adam" else ["zero", "tensor, zero", "one"]
    runs = {layout: run_on(layout, optimizer) for layout in layouts}
    spread = {layout for layout, run in runs.items() if any(map(is_spread, jax.tree.leaves(run)))}
    assert spread == {*layouts} - {"data", "one"}
    for saved_on in layouts:
        path = fn.checkpoint.save(tmp_path / f"{saved_on}.safetensors", runs[saved_on])
        for restored_on in layouts:
            check_equal(fn.checkpoint.load(path, runs[restored_on]), runs[restored_on])


def test_two_processes_and_one(tmp_path):
    for optimizer in OPTIMIZERS:
        with fn.checkpoint.Checkpointer(tmp_path / f"theirs-{optimizer}") as theirs:
            theirs.save(7, run_on("fsdp", optimizer, 7))
    run_together("tests.checkpoint.runs.mesh_child", 2, 2, tmp_path, tmp_path)
    for optimizer, (step, saved_on) in itertools.product(OPTIMIZERS, enumerate(EVERYWHERE)):
        ours = fn.checkpoint.Checkpointer(tmp_path / f"ours-{optimizer}")
        for layout in (saved_on, "one"):
            expected = run_on(layout, optimizer, step)
            check_equal(ours.restore(expected, step=step)[0], expected)
        check_nothing_was_gathered(ours.directory / f"step-{step:08}", saved_on, optimizer, step)


def check_nothing_was_gathered(folder, layout, optimizer, step):
    """Each process wrote what its own devices hold, and what all of them hold was written once."""
    run = run_on(layout, optimizer, step)
    sizes = [sum(array.nbytes for array in stored(folder, process)) for process in range(2)]
    arrays = [x for x in jax.tree.leaves(run) if not is_random_key(x)]
    total = sum(array.nbytes for array in arrays) + 8  # and the key
    assert sum(sizes) == total
    devices = {device: device.id // 2 for device in jax.devices()}
    for process in range(2):
        mine = 8 * (process == 0)
        for array in arrays:
            blocks = {}
            for shard in array.addressable_shards:
                blocks.setdefault(str(shard.index), []).append(shard)
            mine += sum(
                shards[0].data.nbytes
                for shards in blocks.values()
                if devices[min(shards, key=lambda shard: shard.replica_id).device] == process
            )
        assert sizes[process] == mine


def is_spread(array):
    return not array.sharding.is_fully_replicated


def stored(folder, process):
    file = folder / f"arrays-{process}-of-2.safetensors"
    return [np.asarray(array) for array in fn.checkpoint.load_arrays(file).values()]
