"""Smaller models: pruning, quantization, and what they cost, as functions of a model and its arrays."""

import sys as _sys

from funcnet.compression.quantization.quantize import *
from funcnet.compression.quantization.quantized import *
from funcnet.compression.quantization.schemes import *
from funcnet.core.torch_hints import package_attributes as _package_attributes
from funcnet.core.torch_hints import public_names as _public_names

__getattr__, __dir__ = _package_attributes(__name__, _public_names(_sys.modules[__name__]))
