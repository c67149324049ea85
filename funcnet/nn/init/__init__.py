"""PyTorch's initial distributions as values: ``init(key, shape, dtype) -> array``.

Reference: https://docs.pytorch.org/docs/stable/nn.init.html
"""

from funcnet.nn.init.constant import *
from funcnet.nn.init.distribution import *
from funcnet.nn.init.gain_and_fans import *
from funcnet.nn.init.structured import *
from funcnet.nn.init.uniform_normal import *
from funcnet.nn.init.xavier_kaiming import *
