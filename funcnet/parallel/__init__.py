"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.parallel.communication.diloco import DiLoCoState, diloco
from funcnet.parallel.communication.local_step import local_step
from funcnet.parallel.communication.powersgd import PowerSGDState, powersgd
from funcnet.parallel.communication.reduced_gradient import reduced_value_and_grad
from funcnet.parallel.communication.reductions import average_gradients
from funcnet.parallel.communication.replicas import make_replicas, merge_replicas
from funcnet.parallel.launch import JobProcess, alive, start
from funcnet.parallel.meshes import mesh
from funcnet.parallel.optimizer_state import shard_optimizer
from funcnet.parallel.pipeline.pipeline import pipeline
from funcnet.parallel.pipeline.timetables import bubble_fraction
from funcnet.parallel.pipeline.value_and_grad import pipeline_value_and_grad
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
    "Collective",
    "DiLoCoState",
    "JobProcess",
    "Plan",
    "PowerSGDState",
    "abstract",
    "alive",
    "average_gradients",
    "batch_sharding",
    "bubble_fraction",
    "copies",
    "data_parallel",
    "diloco",
    "expert_parallel",
    "fsdp",
    "fully_sharded",
    "join_rules",
    "local_step",
    "make_replicas",
    "merge_replicas",
    "mesh",
    "output",
    "pipeline",
    "pipeline_value_and_grad",
    "plan",
    "powersgd",
    "reduced_value_and_grad",
    "sequence_parallel",
    "shard",
    "shard_optimizer",
    "start",
    "tensor_parallel",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
