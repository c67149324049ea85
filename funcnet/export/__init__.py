"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.specs import ArraySpec, Entry, entry, spec

__all__ = ["Entry", "ArraySpec", "entry", "spec"]
