"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.artifact import Artifact, LoadedFunction, load, save
from funcnet.export.native import native
from funcnet.export.specs import ArraySpec, Entry, entry, spec

__all__ = ["ArraySpec", "Artifact", "Entry", "LoadedFunction", "entry", "load",
    "native", "save", "spec"]
