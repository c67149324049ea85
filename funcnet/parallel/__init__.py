"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.launch import JobProcess, alive, start
from funcnet.parallel.meshes import mesh
from funcnet.parallel.optimizer_state import shard_optimizer
from funcnet.parallel.plans.abstract import abstract
from funcnet.parallel.plans.collectives import Collective
from funcnet.parallel.plans.plan import plan
from funcnet.parallel.plans.report import Plan
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
    "JobProcess",
    "alive",
    "Collective",
    "Plan",
    "abstract",
    "batch_sharding",
    "copies",
    "data_parallel",
    "expert_parallel",
    "fsdp",
    "fully_sharded",
    "join_rules",
    "mesh",
    "output",
    "plan",
    "sequence_parallel",
    "shard",
    "shard_optimizer",
    "start",
    "tensor_parallel",
]
