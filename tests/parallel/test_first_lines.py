"""What a PyTorch user types first."""

import pytest

import funcnet as fn
from funcnet import nn, optim, parallel

HINTS = [
    ("DistributedDataParallel", "parallel.batch_sharding"),
    ("FSDP", "parallel.fully_sharded"),
    ("parallelize_module", "parallel.tensor_parallel"),
    ("ZeroRedundancyOptimizer", "zero='data'"),
    ("DeviceMesh", "parallel.mesh"),
    ("init_process_group", "parallel.start"),
    ("shards", "Did you mean shard"),
]


@pytest.mark.parametrize(("name", "hint"), HINTS)
def test_a_missing_name_says_what_to_write(name, hint):
    with pytest.raises(AttributeError, match=hint):
        getattr(parallel, name)


@pytest.mark.parametrize("rules", ["fsdp", None, ("data", None), [("*", "fsdp")]])
def test_rules_are_a_table(rules):
    net = fn.functionalize(nn.Linear(4, 4))
    with pytest.raises(TypeError, match="a dict"):
        parallel.shard(net, parallel.mesh(data=-1), rules)


def test_the_optimizer_comes_before_the_model():
    net = parallel.shard(fn.functionalize(nn.Linear(4, 4)), parallel.mesh(data=-1), {})
    with pytest.raises(TypeError, match="an optimizer first"):
        parallel.shard_optimizer(net, optim.adam(1e-3))
