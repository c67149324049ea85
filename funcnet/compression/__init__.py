"""Smaller models: pruning, quantization, and what they cost, as functions of a model and its arrays."""

import sys as _sys

from funcnet.compression.pruning.applied import *
from funcnet.compression.pruning.gradual import *
from funcnet.compression.pruning.magnitude import *
from funcnet.compression.pruning.shrink import *
from funcnet.compression.pruning.slices import *
from funcnet.compression.pruning.sparsity import *
from funcnet.compression.pruning.structured import *
from funcnet.compression.pruning.unit_masks import *
from funcnet.compression.pruning.units import *
from funcnet.compression.pruning.verified import *
from funcnet.compression.quantization.calibrate import *
from funcnet.compression.quantization.convert import *
from funcnet.compression.quantization.dynamic import *
from funcnet.compression.quantization.fake import *
from funcnet.compression.quantization.float8 import *
from funcnet.compression.quantization.integer import *
from funcnet.compression.quantization.quantize import *
from funcnet.compression.quantization.quantized import *
from funcnet.compression.quantization.ranges import *
from funcnet.compression.quantization.report import *
from funcnet.compression.quantization.schemes import *
from funcnet.core.torch_hints import package_attributes as _package_attributes
from funcnet.core.torch_hints import public_names as _public_names

__getattr__, __dir__ = _package_attributes(__name__, _public_names(_sys.modules[__name__]))
