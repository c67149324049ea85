"""One of several processes that save and restore together.

Run with the number of processes, this one's, the coordinator's address, the directory, and what to do.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn

WHOLE = np.arange(64, dtype=np.float32).reshape(8, 8)


def mesh_of(shape, kind=jax.sharding.AxisType.Auto):
    return jax.make_mesh(shape, ("x", "y")[: len(shape)], (kind,) * len(shape))


def spread(whole, *axes):
    sharding = NamedSharding(mesh_of((jax.device_count(),)), PartitionSpec(*axes))
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def tree_of(step):
    keys = jax.random.key_data(jax.random.split(jax.random.key(7), 8))
    data = np.asarray(keys) + np.uint32(step)
    return {
        "rows": spread(WHOLE + step, "x"),
        "columns": spread(WHOLE - step, None, "x"),
        "everywhere": spread(WHOLE * step),
        "half": spread(WHOLE.astype(jnp.bfloat16) * step, "x"),
        "count": spread(np.asarray(step, np.int32)),
        "key": jax.random.wrap_key_data(spread(data, "x"), impl="threefry2x32"),
        "mine": np.full(3, step),
        "step": step,
    }


def check(tree, step):
    expected = tree_of(step)
    for name, array in expected.items():
        found = tree[name]
        assert type(found) is type(array), name
        if not isinstance(array, jax.Array):
            np.testing.assert_array_equal(found, array)
            continue
        assert found.sharding == array.sharding, name
        if name == "key":
            found, array = jax.random.key_data(found), jax.random.key_data(array)
        for mine, theirs in zip(found.addressable_shards, array.addressable_shards, strict=True):
            assert mine.data.dtype == theirs.data.dtype, name
            np.testing.assert_array_equal(np.asarray(mine.data), np.asarray(theirs.data), name)


def save(checkpointer, process):
    for step in (1, 2, 3):
        checkpointer.save(step, tree_of(step), metrics={"loss": step})
    assert checkpointer.steps() == [1, 2, 3]
    restore(checkpointer, process)
    with pytest.raises(ValueError, match="lies on devices of other processes"):
        fn.checkpoint.save("never", tree_of(1))


def restore(checkpointer, process):
    tree, saved = checkpointer.restore(like=tree_of(0))
    assert saved.step == 3
    check(tree, 3)
    check(checkpointer.best().load(like=tree_of(0)), 1)


def fail(checkpointer, process):
    """One process cannot write: all of them say so, and earlier steps are whole."""
    checkpointer.save(1, tree_of(1))
    checkpointer.wait()
    tree = tree_of(2)
    if process == 1:
        from funcnet.checkpoint.runs import step_writer

        def full(*arguments):
            raise OSError(28, "No space left on device")

        step_writer.write_safetensors = full
    checkpointer.save(2, tree)
    said = "step 2 could not be saved" if process == 1 else "process 1 could not write: OSError"
    with pytest.raises(RuntimeError, match=said):
        checkpointer.wait()
    assert checkpointer.steps() == [1]


def main(count, process, address, directory, what):
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, count, process, initialization_timeout=60)
    with fn.checkpoint.Checkpointer(directory, best="loss") as checkpointer:
        {"save": save, "restore": restore, "fail": fail}[what](checkpointer, process)
    print(f"process {process} of {count}: {what} is done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
