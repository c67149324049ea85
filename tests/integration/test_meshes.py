"""Every layer runs on a mesh of devices as on one, whichever kind of axes the mesh has.

A row of each layer is called with its batch spread over four simulated devices and its parameters on each of
them, as in data-parallel training: once where a mesh's axes are explicit, JAX's default, so that an array's
type says how it is spread and an operation that cannot tell raises; once where XLA decides.
"""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from tests.integration.mesh_rows import (
    DEVICES,
    batch_axis,
    is_float,
    is_full,
    names,
    one_of_each_kind,
    placed,
    rows_of,
    rows_with_a_batch,
    some_kinds,
    specs_of,
    step_of,
    taken_apart,
    with_most_settings,
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


def test_a_layer_computes_on_meshes_as_on_one_device(compiled):
    row, module, inputs, _ = rows_of(compiled)[0]
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
    specs = specs_of(row, inputs)
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


def parts_of(row, inputs):
    """The arrays of the inputs as each device sees them."""
    given, axis = taken_apart(inputs)[0], batch_axis(row)
    cut = [
        np.split(x, DEVICES, axis) if spec is not None and any(spec) else [x] * DEVICES
        for x, spec in zip(given, specs_of(row, inputs), strict=True)
    ]
    return [list(part) for part in zip(*cut, strict=True)]


def fits_in_parts(row, module, inputs, shapes):
    """Say whether each device's part of the inputs is a batch: the axis that is cut may be another."""
    _, tree, others = taken_apart(inputs)
    try:
        step_of(row, module).trace(*shapes, parts_of(row, inputs)[0], tree, others)
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


COMPUTED = ["CTCLoss", "GRU", "LinearCrossEntropyLoss", "LSTM", "RNN", "GELU", "Upsample", "Linear"]
"""Layers with loops, with rules of their own for gradients, with constants inside of solvers; and one without."""


def pytest_generate_tests(metafunc):
    if "computed" in metafunc.fixturenames:
        metafunc.parametrize("computed", names() if is_full(metafunc.config) else COMPUTED)
    if "compiled" in metafunc.fixturenames:
        metafunc.parametrize("compiled", some_kinds(metafunc.config))


def test_a_layer_computes_inside_shard_map_as_on_each_part_of_the_batch(computed, request):
    """In CI the row that says most; with ``--grid=full`` all rows of all layers."""
    if is_full(request.config):
        rows = [found for found in rows_with_a_batch(computed) if fits_in_parts(*found)]
    else:
        rows = [with_most_settings(computed, fits_in_parts)]
    for row, module, inputs, _ in rows:
        arrays = fn.functionalize(module).init(jax.random.key(0), *inputs[0], **inputs[1])
        mapped, given, _ = inside_shard_map(row, module, inputs)
        axis, (_, tree, others) = batch_axis(row), taken_apart(inputs)
        step, (grads, outputs) = step_of(row, module), jax.jit(mapped)(*arrays, given)
        alone = [step(*arrays, part, tree, others) for part in parts_of(row, inputs)]
        params = jax.tree.map(lambda *each: sum(each), *(grads[0] for grads, _ in alone))
        joined = [
            None if each[0] is None else np.concatenate(each, axis) if any(spec) else sum(each)
            for spec, *each in zip(
                specs_of(row, inputs), *(grads[1] for grads, _ in alone), strict=True
            )
        ]
        stacked = jax.tree.map(lambda *each: np.stack(each), *(outputs for _, outputs in alone))
        close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4, err_msg=str(row))
        jax.tree.map(close, (grads, outputs), ((params, joined), stacked))
