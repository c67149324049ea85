"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.meshes import mesh

__all__ = ["mesh"]
