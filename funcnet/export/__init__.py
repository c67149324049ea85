"""A model without its code: one file for other languages, browsers and runtimes, compared where it will run."""

from funcnet.export.artifact import Artifact, LoadedFunction, load, save
from funcnet.export.compilers import litert, tensorflow
from funcnet.export.native import native
from funcnet.export.onnx.exporting import onnx
from funcnet.export.onnx.report import OnnxReport
from funcnet.export.preflight import Finding, preflight
from funcnet.export.serving import ServerLimits, serve
from funcnet.export.specs import ArraySpec, Entry, entry, spec
from funcnet.export.web import web

__all__ = [
    "ArraySpec",
    "Artifact",
    "Entry",
    "Finding",
    "LoadedFunction",
    "OnnxReport",
    "ServerLimits",
    "entry",
    "litert",
    "load",
    "native",
    "onnx",
    "preflight",
    "save",
    "serve",
    "spec",
    "tensorflow",
    "web",
]
