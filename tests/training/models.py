"""A model with everything that a run has to keep: parameters, a buffer and noise."""

import jax.numpy as jnp

import funcnet as fn
from tests.module.models import Counter, Dense, Noise


class Model(fn.Module):
    def __init__(self, inputs):
        self.dense = Dense(inputs, 2)
        self.counter = Counter()
        self.noise = Noise()

    def __call__(self, x):
        return self.counter(self.noise(self.dense(x)))


def mse(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def mae(outputs, targets):
    return jnp.mean(jnp.abs(outputs - targets))
