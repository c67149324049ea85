"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.meshes import mesh
from funcnet.parallel.plans.collectives import Collective
from funcnet.parallel.plans.plan import plan
from funcnet.parallel.plans.report import Plan

__all__ = ["Collective", "Plan", "mesh", "plan"]
