"""Rows of all layers with a batch that four devices share evenly: what the tests of meshes have in common."""

import functools
import importlib
import math
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

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


MANY_ALIKE = {
    "activations": 6,
    "dropout": 2,
    "losses": 4,
    "padding": 3,
    "recurrent": 3,
    "transformer": 5,
}
"""Families whose layers have their operations in common, with the kinds of which one is taken in CI."""


def is_full(config):
    return config.getoption("grid") == "full"


def some_kinds(config):
    """Names for a test that compiles: one of each kind or fewer; all with ``--grid=full``."""
    if is_full(config):
        return names()
    kinds, alike = one_of_each_kind(), set()
    for family in FAMILIES:
        step = MANY_ALIKE.get(family.__name__.rpartition(".")[2], 1)
        own = [name for name in kinds if name in {row.name for row in family.ROWS}]
        alike |= set(own) - set(own[::step])
    return [name for name in kinds if name not in alike]


@functools.cache
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


def batch_axis(row):
    sequence = any(row.name.startswith(name) for name in SECOND_AXIS)
    first = "batch_first=True" in str(row) or "batch first" in str(row)
    return int(sequence and not row.name.endswith("Cell") and not first)


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
        if not isinstance(item, np.ndarray):
            return item
        item = item.astype(NARROW.get(item.dtype, item.dtype))
        if item.ndim <= axis or not item.shape[axis]:
            return item
        times = DEVICES // math.gcd(DEVICES, item.shape[axis])
        return np.concatenate([item] * times, axis)

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


AXES_OF_A_BATCH = {
    "AdaptiveLogSoftmaxWithLoss": 2,
    "EmbeddingBag": 2,
    "Fold": 3,
    "LayerNorm": 2,
    "MultiLabelMarginLoss": 2,
    "MultiheadAttention": 3,
    "RMSNorm": 2,
    "Transformer": 3,
    "TransformerDecoder": 3,
    "TransformerDecoderLayer": 3,
    "TransformerEncoder": 3,
    "TransformerEncoderLayer": 3,
}
"""Axes of the inputs of layers that also take one example, or bags of any length in a row."""


def has_batch(row, inputs):
    """Say whether samples along the batch's axis are computed apart, and are there to be shared out."""
    arrays = [leaf for leaf in jax.tree.leaves(inputs[0]) if is_array(leaf)]
    if row.name == "GLU":  # it cuts an axis in half: not that of the batch
        return all((row.args or (-1,))[0] % x.ndim for x in arrays)
    spread = any(any(spec) for spec in specs_of(row, inputs) if spec is not None)
    return spread and arrays[0].ndim >= AXES_OF_A_BATCH.get(row.name, 1)


def specs_of(row, inputs):
    """How each of the arrays that `taken_apart` gives is spread: masks of all examples are everywhere."""

    def spec(path, leaf):
        name = str(getattr(path[1], "key", "")) if len(path) > 1 else ""
        if not is_array(leaf):
            return None
        whole = name.endswith("mask") and "padding" not in name
        return PartitionSpec() if whole else spec_of(leaf, batch_axis(row))

    return [spec(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(inputs)]


def rows_with_a_batch(name):
    """Rows of a layer as `rows_of` gives them, of those whose batch can be shared out."""
    return [found for found in rows_of(name) if has_batch(found[0], found[2])]


def with_most_settings(name, suits=lambda *found: True):
    """The row of a layer that says most: of groups, strides and lengths, rather than of defaults."""
    rows = sorted((row for row in all_rows() if row.name == name), key=lambda row: -len(str(row)))
    return next(found for found in map(found_of, rows) if found is not None and suits(*found))


def found_of(row):
    """A row as `rows_of` gives it; None if it has no batch."""
    module, inputs = module_of(row), inputs_of(row)
    shapes = shapes_of(row, module, inputs) if has_batch(row, inputs) else None
    return None if shapes is None else (row, module, inputs, shapes)
