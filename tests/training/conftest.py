"""Pieces of a small run for the tests of training."""

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim, training
from tests.training.models import Model, mae, mse


@pytest.fixture
def pieces(rng):
    x = rng.standard_normal((10, 4), np.float32)
    weight = rng.standard_normal((4, 2), np.float32)
    whole = {"x": x, "y": x @ weight}
    batches = [{k: v[i : i + 4] for k, v in whole.items()} for i in (0, 4, 8)]
    net = fn.functionalize(Model(4))
    optimizer = optim.adam(0.05)
    run = training.TrainState.create(net, optimizer, jax.random.key(0))
    objective = training.supervised(net, mse, inputs="x", targets="y", metrics={"mae": mae})
    return net, optimizer, run, objective, batches, whole
