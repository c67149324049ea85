"""Small modules that the module system's tests share; they need nothing of `funcnet.nn`."""

import jax
import jax.numpy as jnp

import funcnet as fn


def normal(key, shape, dtype):
    return 0.1 * jax.random.normal(key, shape, dtype)


zeros = jax.nn.initializers.zeros


class Dense(fn.Module):
    def __init__(self, inputs, outputs):
        self.outputs = outputs
        self.weight = fn.Parameter((outputs, inputs), normal)
        self.bias = fn.Parameter((outputs,), zeros)

    def __call__(self, x):
        return x @ self.weight.T + self.bias


class Noise(fn.Module):
    def __call__(self, x):
        return x + jax.random.normal(self.next_key(), x.shape) if self.training else x


class Counter(fn.Module):
    def __init__(self):
        self.calls = fn.Buffer((), zeros, jnp.int32)

    def __call__(self, x):
        self.calls = self.calls + 1
        return x


class Tied(fn.Module):
    """An autoencoder whose decoder is the encoder's weight."""

    def __init__(self):
        self.encoder = Dense(4, 4)
        self.decoder = Dense(4, 4)
        self.decoder.weight = self.encoder.weight

    def __call__(self, x):
        return self.decoder(jnp.tanh(self.encoder(x)))

    def encode(self, x, scale=1.0):
        return self.encoder(x) * scale


class Nest(fn.Module):
    """Lists, tuples and dicts of modules, noise and a counter."""

    def __init__(self):
        self.layers = [Dense(3, 3), (Dense(3, 3), Noise())]
        self.heads = {"left": Dense(3, 2), "right": Dense(3, 2)}
        self.counter = Counter()
        self.name = "nest"

    def __call__(self, x):
        first, (second, noise) = self.layers
        x = self.counter(noise(second(first(x))))
        return {name: head(x) for name, head in self.heads.items()}


def built(module, seed=0):
    """Return the pure functions of a module and its initial trees."""
    net = fn.functionalize(module)
    return net, *net.init(jax.random.key(seed))
