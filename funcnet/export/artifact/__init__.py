"""The artifact: one zip of a manifest, weights and portable programs, that runs for years without the model's code."""

from funcnet.export.artifact.loaded import Artifact, LoadedFunction
from funcnet.export.artifact.loading import load
from funcnet.export.artifact.saving import save

__all__ = ["Artifact", "LoadedFunction", "load", "save"]
