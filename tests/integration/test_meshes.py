"""Every layer runs on a mesh of devices as on one, whichever kind of axes the mesh has.

A row of each layer is called with its batch spread over four simulated devices and its parameters on each of
them, as in data-parallel training: once where a mesh's axes are explicit, JAX's default, so that an array's
type says how it is spread and an operation that cannot tell raises; once where XLA decides.
"""

import importlib
import math
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import nn
from tests.parity import Layer

DEVICES = 4
ROWS = Path(__file__).parents[1] / "nn" / "rows"
FAMILIES = [
    importlib.import_module(f"tests.nn.rows.{path.stem}") for path in sorted(ROWS.glob("*.py"))
]
"""Every family of layers: a new one is met here too."""

SECOND_AXIS = {"LSTM", "GRU", "RNN", "MultiheadAttention", "Transformer"}
"""Layers whose batch is the second axis unless they are told ``batch_first``."""


NARROW = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}

NO_CALL = {"ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}


def all_rows():
    """Every row of a layer that can be called; those with samples for a batch of one size are replaced."""
    rows = [row for family in FAMILIES for row in family.ROWS if row.name not in NO_CALL]
    rows = [row for row in rows if not row.name.startswith("FractionalMaxPool")]
    return [
        *rows,
        Layer("FractionalMaxPool2d", (2, 3), inputs=[(4, 3, 9, 9)]),
        Layer("FractionalMaxPool3d", (2, 3), inputs=[(4, 2, 9, 9, 9)]),
        Layer("GroupedQueryAttention", (8, 4, 2), inputs=[(4, 5, 8)]),
        Layer("Conv2d", (4, 4, 3), {"groups": 4}, inputs=[(4, 4, 8, 8)]),
        Layer("Conv2d", (4, 8, 3), {"groups": 2, "channels_last": True}, inputs=[(4, 8, 8, 4)]),
        Layer("RotaryEmbedding", (8,), inputs=[(4, 2, 5, 8)]),
        Layer(
            "MixtureOfExperts",
            build=lambda nn: nn.MixtureOfExperts(nn.Linear(8, 8), 8, 4),
            inputs=[(4, 6, 8)],
        ),
        *_ctc_rows(),
    ]


def _ctc_rows():
    """Rows whose inputs all have the batch first; with lengths that are traced, and that are known."""
    labels = np.array([[1, 1, 2], [2, 3, 0], [4, 3, 2], [1, 0, 0]])
    lengths = np.array([9, 6, 8, 9]), np.array([3, 2, 3, 1])

    def call(loss):
        return lambda scores, labels, steps=lengths[0], sizes=lengths[1]: loss(
            jnp.swapaxes(jax.nn.log_softmax(scores), 0, 1), labels, steps, sizes
        )

    return [
        Layer("CTCLoss", inputs=[(4, 9, 5), lambda _: labels, *more], ours=call)
        for more in ([lambda _: lengths[0], lambda _: lengths[1]], [])
    ]


def names():
    return list(dict.fromkeys(row.name for row in all_rows()))


def one_of_each_kind():
    """Names of which one stands for those that differ in their number of axes alone."""
    return list({name.rstrip("d").rstrip("123"): name for name in names()}.values())


def rows_of(name):
    """The rows of a layer, with module, inputs and shapes of arrays: those that have a batch to spread."""
    found = []
    for row in all_rows():
        if row.name == name:
            module, inputs = module_of(row), inputs_of(row)
            shapes = shapes_of(row, module, inputs)
            if shapes is not None:
                found.append((row, module, inputs, shapes))
    assert found, "no row of this layer has a batch"
    return found


def mesh_of(kind):
    types = None if kind == "explicit" else (AxisType.Auto,)
    return jax.make_mesh((DEVICES,), ("data",), types)


def batch_axis(row):
    sequence = any(row.name.startswith(name) for name in SECOND_AXIS)
    return int(sequence and not row.name.endswith("Cell") and "batch_first=True" not in str(row))


def inputs_of(row):
    """The row's inputs, each repeated along the batch until the devices share it evenly."""
    rng = np.random.default_rng(zlib.crc32(str(row).encode()))
    axis = batch_axis(row)

    def make(item):
        if isinstance(item, tuple) and all(isinstance(n, int) for n in item):
            item = rng.standard_normal(item)
        elif isinstance(item, list | tuple):
            return type(item)(make(part) for part in item)
        elif callable(item):
            item = item(rng)
        if not isinstance(item, np.ndarray) or item.ndim <= axis or not item.shape[axis]:
            return item
        times = DEVICES // math.gcd(DEVICES, item.shape[axis])
        item = np.concatenate([item] * times, axis)
        return item.astype(NARROW.get(item.dtype, item.dtype))

    return [make(item) for item in row.inputs], {k: make(v) for k, v in row.call.items()}


def placed(value, mesh, axis):
    """Spread the arrays of inputs over the mesh; what cannot be spread is on every device."""

    def put(leaf):
        if not isinstance(leaf, np.ndarray):
            return leaf
        return jax.device_put(leaf, NamedSharding(mesh, spec_of(leaf, axis)))

    return jax.tree.map(put, value)


def spec_of(leaf, axis):
    spreads = leaf.ndim > axis and leaf.shape[axis] and leaf.shape[axis] % DEVICES == 0
    return PartitionSpec(*(None,) * axis, "data") if spreads else PartitionSpec()


def is_array(leaf):
    return isinstance(leaf, jax.Array | np.ndarray)


def is_float(leaf):
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def step_of(row, module, train=False):
    """A jitted function of params, state and the arrays among the inputs.

    It returns gradients, those of inputs too, and outputs.
    """
    net = fn.functionalize(module)

    def apply(params, state, args, kwargs, key):
        if row.ours is None:
            return net.apply(params, state, *args, key=key, train=train, **kwargs)[0]
        return row.ours(fn.bind(module, params, state, key=key, train=train))(*args, **kwargs)

    def call(wanted, state, arrays, tree, others):
        params, floats = wanted
        given = zip(floats, arrays, others, strict=True)
        leaves = [next((x for x in kinds if x is not None), None) for kinds in given]
        args, kwargs = jax.tree.unflatten(tree, leaves)
        outputs = apply(params, state, args, kwargs, jax.random.key(0))
        leaves = [x for x in jax.tree.leaves(outputs) if is_array(x)]
        total = sum((jnp.sum(jnp.sin(x)) for x in leaves if is_float(x)), start=jnp.zeros(()))
        return total, leaves

    def step(params, state, arrays, tree, others):
        floats = [x if is_float(x) else None for x in arrays]
        rest = [None if is_float(x) else x for x in arrays]
        return jax.grad(call, has_aux=True)((params, floats), state, rest, tree, others)

    return jax.jit(step, static_argnums=(3, 4))


def taken_apart(inputs):
    leaves, tree = jax.tree.flatten(inputs)
    arrays = [leaf if is_array(leaf) else None for leaf in leaves]
    return arrays, tree, tuple(None if is_array(leaf) else leaf for leaf in leaves)


def module_of(row):
    return row.build(nn) if row.build else getattr(nn, row.name)(*row.args, **row.kwargs)


def shapes_of(row, module, inputs):
    """Shapes of params and state; None where the row has no batch, so that a longer one does not fit."""
    try:
        shapes = jax.eval_shape(
            fn.functionalize(module).init, jax.random.key(0), *inputs[0], **inputs[1]
        )
        step_of(row, module).trace(*shapes, *taken_apart(inputs))
    except (TypeError, ValueError, IndexError):
        return None
    return shapes


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
