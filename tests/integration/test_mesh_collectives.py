"""In a data-parallel training step devices exchange sums alone.

Each layer's step is compiled with a batch spread over four devices and parameters whole on each. What XLA
could not share out would appear in the program as a gather, an exchange of parts or a permutation.
"""

import re

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from tests.integration.mesh_rows import (
    is_float,
    is_full,
    rows_with_a_batch,
    some_kinds,
    specs_of,
    taken_apart,
    with_most_settings,
)

EXCHANGES = re.compile(
    r"= (?P<shape>\S+|\(.*?\)) (?P<what>all-gather|all-to-all|collective-permute|reduce-scatter|"
    r"collective-broadcast|ragged-all-to-all)(-start)?\(.*?op_name=\"(?P<cause>[^\"]*)\""
)


def exchanges(compiled):
    """What devices exchange in a compiled program, beside sums: kind, shape and cause."""
    text = compiled.as_text()
    found = [match.group("what", "shape", "cause") for match in EXCHANGES.finditer(text)]
    plain = re.findall(r"(?:all-gather|all-to-all|permute|scatter|broadcast)(?:-start)?\(", text)
    assert found or not any("all-" in word or "collective" in word for word in plain)
    return found


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
    ((what, shape, cause),) = exchanges(
        jax.jit(lambda x: x[::-1], out_shardings=spread).lower(x).compile()
    )
    assert what == "collective-permute"
    assert shape.startswith("f32[2,4]")
    assert cause.endswith("rev")
