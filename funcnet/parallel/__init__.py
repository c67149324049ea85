"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.communication.diloco import DiLoCoState, diloco
from funcnet.parallel.communication.local_step import local_step
from funcnet.parallel.communication.powersgd import PowerSGDState, powersgd
from funcnet.parallel.communication.reduced_gradient import reduced_value_and_grad
from funcnet.parallel.communication.reductions import average_gradients
from funcnet.parallel.communication.replicas import make_replicas, merge_replicas
from funcnet.parallel.meshes import mesh

__all__ = [
    "DiLoCoState",
    "PowerSGDState",
    "average_gradients",
    "diloco",
    "local_step",
    "make_replicas",
    "merge_replicas",
    "mesh",
    "powersgd",
    "reduced_value_and_grad",
]
