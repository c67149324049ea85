"""Every optimizer's and wrapper's state, and whole runs, come back bit for bit; those of other libraries too."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim
from tests.checkpoint.same import assert_same
from tests.optim.test_protocol import OPTIMIZERS

WRAPPERS = {
    "accumulate": lambda inner: optim.accumulate(inner, 2),
    "dynamic_loss_scale": optim.dynamic_loss_scale,
    "average": lambda inner: optim.ema(inner, 0.9),
}


def is_wrapper(name):
    """Whether a public function makes an optimizer of another."""
    function = getattr(optim, name)
    if not inspect.isfunction(function):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name in ("inner", "optimizer")


def test_names():
    print([name for name in optim.__all__ if is_wrapper(name)])
