"""Functions to serve, of NumPy: what is tested is the server."""

import time

import numpy as np

from funcnet.export.records import ArtifactManifest
from funcnet.export.serving.application import Service
from funcnet.export.serving.limits import ServerLimits
from funcnet.export.serving.programs import ServedFunction
from funcnet.export.serving.signature import FunctionSignature
from funcnet.export.specs import ArraySpec


def spec(shape, dtype=np.float32, name="x"):
    return ArraySpec(tuple(shape), np.dtype(dtype), name)


class Counted:
    """A function of arrays, and the sizes that it was compiled for and called with."""

    def __init__(self, function, seconds=0.0):
        self.function, self.seconds = function, seconds
        self.compiled, self.calls = [], []

    def __call__(self, sizes):
        self.compiled.append(dict(sizes))

        def call(arrays):
            self.calls.append(dict(sizes))
            time.sleep(self.seconds)
            made = self.function(*arrays)
            return list(made) if isinstance(made, tuple) else [made]

        return call


def served(
    function, inputs, outputs, batches=(1, 4, 8), batch="batch", name="call", keep=4, seconds=0.0
):
    counted = Counted(function, seconds)
    signature = FunctionSignature(name, tuple(inputs), tuple(outputs), batch)
    return ServedFunction(signature, counted, batches, keep), counted


def double(**options):
    """Twice a batch of rows of three."""
    shape = ("batch", 3)
    return served(lambda x: 2 * x, [spec(shape)], [spec(shape, name="y")], **options)


def service(*functions, sizes=None, **limits):
    named = {each.signature.name: each for each in functions}
    manifest = ArtifactManifest("tried", {"note": "a"}, {"funcnet": "0.1.0"}, {}, None, None, {})
    return Service(named, sizes or {name: [{}] for name in named}, manifest, ServerLimits(**limits))
