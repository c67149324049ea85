"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.artifact import Artifact, LoadedFunction, load, save
from funcnet.export.compilers import litert, tensorflow
from funcnet.export.onnx.exporting import onnx
from funcnet.export.onnx.report import OnnxReport
from funcnet.export.preflight import Finding, preflight
from funcnet.export.specs import ArraySpec, Entry, entry, spec

__all__ = [
    "ArraySpec",
    "Artifact",
    "Entry",
    "Finding",
    "LoadedFunction",
    "OnnxReport",
    "entry",
    "litert",
    "load",
    "onnx",
    "preflight",
    "save",
    "spec",
    "tensorflow",
]
