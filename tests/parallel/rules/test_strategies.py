"""Each strategy trains a small transformer as one device does."""

from functools import lru_cache

import jax
import numpy as np
import pytest

from funcnet import optim, parallel
from tests.parallel.rules.models import model, only_sampled, train

DENSE = {
    "data": lambda net: parallel.data_parallel(),
    "fsdp": lambda net: parallel.fully_sharded(),
    "zero": lambda net: parallel.data_parallel(),
    "tensor": parallel.tensor_parallel,
    "sequence": lambda net: parallel.join_rules(
        parallel.tensor_parallel(net), parallel.sequence_parallel(net)
    ),
    "tensor and fsdp": lambda net: parallel.fully_sharded(parallel.tensor_parallel(net)),
}
EXPERTS = {
    "experts": lambda net: parallel.expert_parallel(net, "model"),
    "experts over data": lambda net: parallel.expert_parallel(net, "data"),
    "experts and fsdp": lambda net: parallel.fully_sharded(parallel.expert_parallel(net, "model")),
}
CASES = [
    *((kind, name, DENSE[name]) for kind in ("repeated", "unrolled") for name in DENSE),
    *(("experts", name, rules) for name, rules in EXPERTS.items()),
]

SAMPLE = {
    ("repeated", "sequence"),
    ("repeated", "tensor and fsdp"),
    ("unrolled", "zero"),
    ("experts", "experts and fsdp"),
}
"""What is tried without --grid=full."""


@lru_cache
def on_one_device(kind):
    return train(model(kind))


@pytest.mark.parametrize(
    ("kind", "name", "rules"), CASES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_twenty_steps_are_those_of_one_device(request, kind, name, rules):
    only_sampled(request, (kind, name), SAMPLE)
    net, mesh = model(kind), parallel.mesh(data=2, model=2)
    sharded = parallel.shard(net, mesh, rules(net))
    optimizer = parallel.shard_optimizer(
        optim.sgd(0.05, momentum=0.9), sharded, zero="data" if name == "zero" else None
    )
    losses, params, state = train(sharded, optimizer, mesh)
    expected, whole, whole_state = on_one_device(kind)
    assert expected[-1] < expected[0]
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    for ours, theirs in zip(
        jax.tree.leaves((params, state)), jax.tree.leaves((whole, whole_state)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    flat = {
        jax.tree_util.keystr(k, simple=True, separator="."): x
        for k, x in jax.tree.leaves_with_path(params)
    }
    for path, array in flat.items():
        assert array.sharding.is_equivalent_to(sharded.placement.sharding(path), array.ndim), path
    spread = [path for path, spec in sharded.placement.specs.items() if any(spec)]
    assert bool(spread) == (name not in ("data", "zero"))
