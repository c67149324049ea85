"""Small models for tests of rules, and how they are trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, parallel

WORDS, WIDTH, STEPS = 32, 32, 20


class Transformer(nn.Module):
    """Two layers of nn.Transformer, repeated or one by one, between an embedding and a head."""

    def __init__(self, repeated, feed_forward=64):
        def layer():
            return nn.TransformerEncoderLayer(
                WIDTH, 4, feed_forward, 0.0, batch_first=True, norm_first=True
            )

        self.tokens = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.Repeat(layer(), 2) if repeated else nn.Sequential(layer(), layer())
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS)

    def __call__(self, tokens):
        return self.head(self.norm(self.layers(self.tokens(tokens)))), 0.0


class Experts(nn.Module):
    """A mixture of experts between an embedding and a head."""

    def __init__(self):
        expert = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        self.tokens = nn.Embedding(WORDS, WIDTH)
        self.mixture = nn.MixtureOfExperts(expert, WIDTH, num_experts=4)
        self.head = nn.Linear(WIDTH, WORDS)

    def __call__(self, tokens):
        output, report = self.mixture(self.tokens(tokens))
        return self.head(output), 0.01 * report.load_balancing_loss


def batches():
    rng = np.random.default_rng(0)
    return rng.integers(0, WORDS, (STEPS, 8, 9)).astype(np.int32)


def train(net, optimizer=None, mesh=None, key=0):
    """Make twenty steps; return losses, params and the optimizer's state."""
    optimizer = optim.sgd(0.05, momentum=0.9) if optimizer is None else optimizer
    params, _ = net.init(jax.random.key(key))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, tokens):
        def loss(params):
            logits, more = net.apply(params, {}, tokens[:, :-1], train=True)[0]
            return F.cross_entropy(logits.reshape(-1, WORDS), tokens[:, 1:].reshape(-1)) + more

        value, grads = jax.value_and_grad(loss)(params)
        updates, state_ = optimizer.update(grads, state, params)
        return value, optim.apply_updates(params, updates), state_

    losses = []
    for tokens in batches():
        if mesh is not None:
            tokens = jax.device_put(tokens, parallel.batch_sharding(mesh))
        value, params, state = step(params, state, tokens)
        losses.append(value)
    return jnp.stack([jax.device_get(x) for x in losses]), params, state


def model(kind):
    return fn.functionalize(Experts() if kind == "experts" else Transformer(kind == "repeated"))


def only_sampled(request, name, sample):
    """Skip what is not in a sample, unless everything is asked for."""
    if request.config.getoption("grid") != "full" and name not in sample:
        pytest.skip("--grid=full")
