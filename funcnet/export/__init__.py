"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.onnx.exporting import onnx
from funcnet.export.onnx.report import OnnxReport
from funcnet.export.specs import ArraySpec, Entry, entry, spec

__all__ = ["ArraySpec", "Entry", "OnnxReport", "entry", "onnx", "spec"]
