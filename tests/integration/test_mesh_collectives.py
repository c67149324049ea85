"""In a data-parallel training step devices exchange sums alone.

Each layer's step is compiled with a batch spread over four devices and parameters whole on each. What XLA
could not share out would appear in the program as a gather, an exchange of parts or a permutation.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet.functional.convolution.groups import shared_out
from tests.integration.mesh_rows import (
    all_rows,
    found_of,
    is_float,
    is_full,
    rows_with_a_batch,
    some_kinds,
    specs_of,
    taken_apart,
    with_most_settings,
)

KINDS = "all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
EXCHANGE = re.compile(rf"= (\S+|\(.*?\)) (\S*(?:{KINDS})(?:-start)?)\(([^\n]*)")


def exchanges(compiled):
    """What devices exchange in a compiled program, beside sums: kind, shape and cause."""
    named = re.compile(r'op_name="([^"]*)"')
    return [
        (what, shape, "".join(named.findall(rest)))
        for shape, what, rest in EXCHANGE.findall(compiled.as_text())
    ]


def step_of_rows(rows):
    """A training step of several layers at once, with the shapes of its arguments and how they are spread."""
    mesh = fn.parallel.mesh(data=-1)
    whole = NamedSharding(mesh, PartitionSpec())
    shapes, given, layers = [], [], []
    for row, module, inputs, arrays in rows:
        leaves, tree, others = taken_apart(inputs)
        specs = specs_of(row, inputs)
        shapes.append(
            jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole), arrays)
        )
        given.append(
            [
                x
                if x is None
                else jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))
                for x, spec in zip(leaves, specs, strict=True)
            ]
        )
        layers.append((row, module, tree, others))

    def loss(wanted, states, rest):
        total, kept = jnp.zeros(()), []
        for layer, params, floats, state, others in zip(layers, *wanted, states, rest, strict=True):
            outputs, state = call(*layer, params, state, floats, others)
            leaves = [x for x in jax.tree.leaves(outputs) if is_float(x)]
            total = sum((jnp.sum(jnp.sin(x)) for x in leaves), start=total)
            kept.append(state)
        return total, kept

    def step(shapes, given):
        floats = [[x if x is not None and is_floating(x) else None for x in xs] for xs in given]
        rest = [[None if x is None or is_floating(x) else x for x in xs] for xs in given]
        wanted = [params for params, _ in shapes], floats
        (value, states), grads = jax.value_and_grad(loss, has_aux=True)(
            wanted, [state for _, state in shapes], rest
        )
        return (value, states, grads[0]), grads[1]

    of_floats = [
        [x.sharding if x is not None and is_floating(x) else None for x in xs] for xs in given
    ]
    return jax.jit(step, out_shardings=(whole, of_floats)), shapes, given


def is_floating(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def call(row, module, tree, others, params, state, floats, rest):
    leaves = [
        next((x for x in kinds if x is not None), None)
        for kinds in zip(floats, rest, others, strict=True)
    ]
    args, kwargs = jax.tree.unflatten(tree, leaves)
    key = jax.random.key(0)
    if row.ours is None:
        net = fn.functionalize(module)
        return net.apply(params, state, *args, key=key, train=True, **kwargs)
    bound = fn.bind(module, params, state, key=key, train=True)
    return row.ours(bound)(*args, **kwargs), state


def pytest_generate_tests(metafunc):
    """Layers of many kinds, some in one program; with ``--grid=full`` all rows, those of a layer in one."""
    if "few" in metafunc.fixturenames:
        kinds = some_kinds(metafunc.config)
        size = 1 if is_full(metafunc.config) else 8
        few = [kinds[first : first + size] for first in range(0, len(kinds), size)]
        metafunc.parametrize("few", few, ids=lambda few: few[0])


def test_devices_exchange_sums_alone(few, request):
    rows_of = (
        rows_with_a_batch if is_full(request.config) else lambda name: [with_most_settings(name)]
    )
    step, *arguments = step_of_rows([row for name in few for row in rows_of(name)])
    assert exchanges(step.lower(*arguments).compile()) == []


def test_an_exchange_is_seen():
    mesh = fn.parallel.mesh(data=-1)
    spread = NamedSharding(mesh, PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=spread)
    ((what, shape, _),) = exchanges(
        jax.jit(lambda x: x[::-1], out_shardings=spread).lower(x).compile()
    )
    assert what == "collective-permute"
    assert shape.startswith("f32[2,4]")


ONCE_GATHERED = [
    "Conv2d(4,4,3,groups=4)[(4,4,8,8)]",
    "Conv2d(3,6,3,groups=3,padding=1,bias=False)[(2,3,5,6)]",
    "ConvTranspose2d(3,6,3,2,groups=3,bias=False)[(2,3,2,3)]",
    "LinearCrossEntropyLoss()[(7,3)]-none-{'batch_chunk_size': 3}",
    "BatchNorm1d(3)[(4,3)]",
]
"""Rows that XLA does not share out as they are computed on one device."""


def test_rows_that_need_a_form_of_their_own():
    chosen = [row for row in all_rows() if str(row) in ONCE_GATHERED]
    assert len(chosen) >= len(ONCE_GATHERED)
    step, *arguments = step_of_rows([found_of(row) for row in chosen])
    assert exchanges(step.lower(*arguments).compile()) == []


@pytest.mark.parametrize(("outputs", "groups"), [(4, 4), (8, 4), (6, 2), (32, 16)])
def test_the_form_of_grouped_convolutions_on_other_platforms(outputs, groups):
    """On CPUs depthwise convolution has another form; here is the one that GPUs compile, which XLA must share out."""
    mesh = fn.parallel.mesh(data=-1)

    def convolve(images, filters, groups):
        layout = ("NCHW", "OIHW", "NCHW")
        return jax.lax.conv_general_dilated(
            images, filters, (1, 2), "SAME", dimension_numbers=layout, feature_group_count=groups
        )

    def loss(images, filters):
        return jnp.sum(jnp.sin(shared_out(convolve, images, filters, groups, 1)(images, filters)))

    rng = np.random.default_rng(0)
    channels = 4 if groups <= 4 else 2 * groups  # many groups of several channels are a loop
    images = rng.standard_normal((8, channels, 6, 5), np.float32)
    filters = rng.standard_normal((outputs, channels // groups, 3, 3), np.float32)
    spread, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
    step = jax.jit(jax.grad(loss, (0, 1)), out_shardings=(spread, whole))
    placed = jax.device_put(images, spread), jax.device_put(filters, whole)
    assert exchanges(step.lower(*placed).compile()) == []
    for found, alone in zip(step(*placed), jax.grad(loss, (0, 1))(images, filters), strict=True):
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)  # other orders of sums
