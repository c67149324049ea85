"""Each layer with one of its arrays spread over an axis ``model`` gives what one device gives.

The mesh has two axes that XLA places: the batch is spread over one, and a dimension of one weight that
divides over the other. Outputs and all gradients are compared.
"""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from tests.integration.mesh_rows import (
    all_rows,
    inputs_of,
    is_full,
    module_of,
    rows_with_a_batch,
    some_kinds,
    specs_of,
    step_of,
    taken_apart,
    with_most_settings,
)

SIZE = 2


def has_weights(name):
    """Say whether a row of the layer has an array whose dimension two devices share."""
    row = next(row for row in all_rows() if row.name == name)
    net = fn.functionalize(module_of(row))
    inputs = inputs_of(row)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), *inputs[0], **inputs[1])
    return any(size % SIZE == 0 for x in jax.tree.leaves(params) for size in x.shape)


def places(params):
    """Ways to spread one array of the parameters along one dimension: the largest arrays first."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in sorted(leaves, key=lambda item: -item[1].size):
        for axis, size in enumerate(leaf.shape):
            if size % SIZE == 0 and size:
                yield path, PartitionSpec(*(None,) * axis, "model")


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        kinds = [name for name in some_kinds(metafunc.config) if has_weights(name)]
        metafunc.parametrize("name", kinds)


def test_a_weight_spread_over_the_model_axis(name, request):
    """In CI one row and one way to spread it; with ``--grid=full`` all rows and all ways."""
    full = is_full(request.config)
    mesh = fn.parallel.mesh(data=2, model=2)
    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
    for row, module, inputs, _ in rows_with_a_batch(name) if full else [with_most_settings(name)]:
        leaves, tree, others = taken_apart(inputs)
        params, state = fn.functionalize(module).init(jax.random.key(0), *inputs[0], **inputs[1])
        step = step_of(row, module)
        alone = step(params, state, leaves, tree, others)
        specs = specs_of(row, inputs)
        spread = [x if x is None else put(x, spec) for x, spec in zip(leaves, specs, strict=True)]
        ways = list(places(params))
        for where, spec in ways if full else ways[:1]:
            placed = jax.tree_util.tree_map_with_path(
                lambda path, x: put(x, spec if path == where else PartitionSpec()), params
            )
            found = step(placed, put(state, PartitionSpec()), spread, tree, others)
            message = f"{row}: {jax.tree_util.keystr(where)} {spec}"
            jax.tree.map(
                # float32 sums in another order
                lambda a, b: np.testing.assert_allclose(
                    a, b, rtol=1e-4, atol=1e-4, err_msg=message
                ),
                found,
                alone,
            )
