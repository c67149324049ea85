"""Every layer runs on a mesh of devices as on one, whichever kind of axes the mesh has.

A row of each layer is called with its batch spread over four simulated devices and its parameters on each of
them, as in data-parallel training: once where a mesh's axes are explicit, JAX's default, so that an array's
type says how it is spread and an operation that cannot tell raises; once where XLA decides.
"""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from tests.integration.mesh_rows import (
    DEVICES,
    batch_axis,
    is_float,
    names,
    one_of_each_kind,
    placed,
    rows_of,
    spec_of,
    step_of,
    taken_apart,
)


def mesh_of(kind):
    types = None if kind == "explicit" else (AxisType.Auto,)
    return jax.make_mesh((DEVICES,), ("data",), types)


@pytest.mark.parametrize("name", names())
def test_every_row_of_a_layer_has_types_on_an_explicit_mesh(name):
    """Nothing is compiled. Inside of ``jax.set_mesh`` what a layer makes lies on a mesh too."""
    mesh = mesh_of("explicit")
    everywhere = NamedSharding(mesh, PartitionSpec())
    for number, (row, module, inputs, shapes) in enumerate(rows_of(name)):
        arrays = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=everywhere), shapes
        )
        spread = taken_apart(placed(inputs, mesh, batch_axis(row)))
        with jax.set_mesh(mesh):
            step_of(row, module).trace(*arrays, *spread)
        if number == 0:
            step_of(row, module, train=True).trace(*arrays, *spread)


@pytest.mark.parametrize("name", one_of_each_kind())
def test_a_layer_computes_on_meshes_as_on_one_device(name):
    row, module, inputs, _ = rows_of(name)[0]
    arrays = fn.functionalize(module).init(jax.random.key(0), *inputs[0], **inputs[1])
    step = step_of(row, module)
    alone = step(*arrays, *taken_apart(inputs))
    for kind in ("explicit", "auto"):
        mesh = mesh_of(kind)
        everywhere = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))
        with jax.set_mesh(mesh):
            spread = step(*everywhere, *taken_apart(placed(inputs, mesh, batch_axis(row))))
        jax.tree.map(
            # float32 sums in another order; gradients are sums over the batch
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=kind),
            spread,
            alone,
        )


def inside_shard_map(row, module, inputs):
    """A function of params, state and arrays, of which each device sees its part: as `step_of`."""
    given, tree, others = taken_apart(inputs)
    specs = [None if x is None else spec_of(x, batch_axis(row)) for x in given]
    step = step_of(row, module)

    def part(params, state, arrays):
        grads, outputs = step(params, state, arrays, tree, others)
        return grads, [output[None] for output in outputs]

    floats = [spec if is_float(x) else None for spec, x in zip(specs, given, strict=True)]
    everywhere, each = PartitionSpec(), PartitionSpec("data")
    mapped = jax.shard_map(
        part,
        mesh=mesh_of("auto"),
        in_specs=(everywhere, everywhere, specs),
        out_specs=((everywhere, floats), each),
    )
    return mapped, given, floats


def fits_in_parts(row, module, inputs, shapes):
    """Say whether each device's part of the inputs is a batch: the axis that is cut may be another."""
    given, tree, others = taken_apart(inputs)
    cut = lambda x: (
        np.split(x, DEVICES, batch_axis(row))[0] if any(spec_of(x, batch_axis(row))) else x
    )
    try:
        step_of(row, module).trace(*shapes, jax.tree.map(cut, given), tree, others)
    except (TypeError, ValueError, IndexError):
        return False
    return True


@pytest.mark.parametrize("name", one_of_each_kind())
def test_every_row_of_a_layer_has_types_inside_shard_map(name):
    """Nothing is compiled. Gradients of what all devices share are sums over the devices."""
    rows = [found for found in rows_of(name) if fits_in_parts(*found)]
    assert rows
    for row, module, inputs, shapes in rows:
        mapped, given, _ = inside_shard_map(row, module, inputs)
        jax.eval_shape(mapped, *shapes, given)


LOOPS = ["CTCLoss", "GRU", "LinearCrossEntropyLoss", "LSTM", "RNN", "Linear"]
"""Layers whose loops are told which devices they vary over; and one without a loop."""


@pytest.mark.parametrize("name", LOOPS)
def test_a_layer_computes_inside_shard_map_as_on_each_part_of_the_batch(name):
    row, module, inputs, _ = rows_of(name)[0]
    arrays = fn.functionalize(module).init(jax.random.key(0), *inputs[0], **inputs[1])
    mapped, given, _ = inside_shard_map(row, module, inputs)
    axis, (_, tree, others) = batch_axis(row), taken_apart(inputs)
    step, (grads, outputs) = step_of(row, module), jax.jit(mapped)(*arrays, given)
    parts = zip(*(np.split(x, DEVICES, axis) for x in given), strict=True)
    alone = [step(*arrays, list(part), tree, others) for part in parts]
    params = jax.tree.map(lambda *each: sum(each), *(grads[0] for grads, _ in alone))
    joined = jax.tree.map(
        lambda *each: np.concatenate(each, axis), *(grads[1] for grads, _ in alone)
    )
    stacked = jax.tree.map(lambda *each: np.stack(each), *(outputs for _, outputs in alone))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, (grads, outputs), ((params, joined), stacked))
