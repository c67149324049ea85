"""PyTorch's initial distributions as values: ``init(key, shape, dtype) -> array``."""

from funcnet.nn.init.distributions import *
