"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.launch import JobProcess, alive, start
from funcnet.parallel.meshes import mesh

__all__ = ["JobProcess", "alive", "mesh", "start"]
