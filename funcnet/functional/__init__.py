"""Stateless mathematics on arrays, one family a file, with PyTorch's names and numbers."""

from funcnet.functional.linear import *
from funcnet.functional.losses_binary import *
from funcnet.functional.losses_classification import *
from funcnet.functional.losses_regression import *
