"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.compilers import litert, tensorflow
from funcnet.export.preflight import Finding, preflight
from funcnet.export.specs import ArraySpec, Entry, entry, spec

__all__ = ["ArraySpec", "Entry", "Finding", "entry", "litert", "preflight", "spec", "tensorflow"]
