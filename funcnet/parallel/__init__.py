"""Many devices and many processes: meshes, rules by dotted path, plans, and jobs that end when they fail."""

from funcnet.parallel.meshes import mesh
from funcnet.parallel.pipeline.pipeline import pipeline
from funcnet.parallel.pipeline.timetables import bubble_fraction
from funcnet.parallel.pipeline.value_and_grad import pipeline_value_and_grad

__all__ = ["bubble_fraction", "mesh", "pipeline", "pipeline_value_and_grad"]
