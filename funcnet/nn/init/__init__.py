"""PyTorch's initial distributions as values: ``init(key, shape, dtype) -> array``.

Reference: https://docs.pytorch.org/docs/stable/nn.init.html
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes as _package_attributes
from funcnet.core.torch_hints import public_names as _public_names
from funcnet.nn.init.constant import *
from funcnet.nn.init.distribution import *
from funcnet.nn.init.gain_and_fans import *
from funcnet.nn.init.structured import *
from funcnet.nn.init.uniform_normal import *
from funcnet.nn.init.xavier_kaiming import *

if not _TYPE_CHECKING:  # a type checker should go on to report names that are missing
    _names = _public_names(_sys.modules[__name__])
    __getattr__, __dir__ = _package_attributes(__name__, _names)
