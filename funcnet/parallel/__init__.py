"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.meshes import mesh
from funcnet.parallel.optimizer_state import shard_optimizer
from funcnet.parallel.pipeline.pipeline import pipeline
from funcnet.parallel.pipeline.timetables import bubble_fraction
from funcnet.parallel.pipeline.value_and_grad import pipeline_value_and_grad
from funcnet.parallel.rules.places import copies, fsdp, output
from funcnet.parallel.rules.sets import (
    data_parallel,
    expert_parallel,
    fully_sharded,
    sequence_parallel,
    tensor_parallel,
)
from funcnet.parallel.rules.table import join_rules
from funcnet.parallel.shard import batch_sharding, shard

__all__ = [
    "batch_sharding",
    "bubble_fraction",
    "copies",
    "data_parallel",
    "expert_parallel",
    "fsdp",
    "fully_sharded",
    "join_rules",
    "mesh",
    "output",
    "pipeline",
    "pipeline_value_and_grad",
    "sequence_parallel",
    "shard",
    "shard_optimizer",
    "tensor_parallel",
]
