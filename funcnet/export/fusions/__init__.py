"""Larger operators of ONNX in place of the small ones that a function was traced to: runtimes are quick with those.

Each rule knows how a function of `funcnet.functional` is written; tests hold it to that. Numbers that are finite come
out the same; which of NaN and infinity comes out where is the runtime's, as with any other exporter's file.
"""

from funcnet.export.fusions.fuse import fuse
from funcnet.export.fusions.marks import MARKS

__all__ = ["MARKS", "fuse"]
