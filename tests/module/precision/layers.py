"""Every row of every layer as a model: in 32 bits, in mixed precision, and in 32 bits of rounded numbers."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import nn
from tests.integration.mesh_rows import NARROW, all_rows, is_array, is_float, module_of
from tests.parity import Layer
from tests.parity import inputs as drawn

KEY = jax.random.key(0)
COMPUTE = ("bfloat16", "float16")


class Called(nn.Module):
    """A layer whose row says how it is called."""

    def __init__(self, layer, call):
        self.layer, self.call = layer, call

    def __call__(self, *args, **kwargs):
        return self.call(self.layer)(*args, **kwargs)


@dataclass
class Case:
    """One row: a model, and what it is called with."""

    row: Any

    @cached_property
    def net(self):
        module = module_of(self.row)
        return fn.functionalize(module if self.row.ours is None else Called(module, self.row.ours))

    @cached_property
    def inputs(self):
        """The row's inputs with floats and integers of 32 bits."""

        def narrow(leaf):
            return leaf.astype(NARROW.get(leaf.dtype, leaf.dtype)) if is_array(leaf) else leaf

        return jax.tree.map(narrow, drawn.arrays(self.row, 0))

    @cached_property
    def arrays(self):
        """Params and state; biases and such are no zeros."""
        args, kwargs = self.inputs
        shapes = jax.eval_shape(self.net.init, KEY, *args, **kwargs)
        rng = np.random.default_rng(zlib.crc32(str(self.row).encode()))

        def draw(low, high):
            def one(spec):
                if not jnp.issubdtype(spec.dtype, jnp.floating):
                    return jnp.zeros(spec.shape, spec.dtype)
                return jnp.asarray(rng.uniform(low, high, spec.shape), spec.dtype)

            return one

        params, state = shapes
        return jax.tree.map(draw(-0.7, 0.7), params), jax.tree.map(draw(0.5, 1.5), state)

    @cached_property
    def parts(self):
        """The inputs as a list of floats, a list of other arrays, and a function that joins them."""
        leaves, tree = jax.tree.flatten(self.inputs)
        floats = [leaf if is_float(leaf) else None for leaf in leaves]
        others = [leaf if is_array(leaf) and not is_float(leaf) else None for leaf in leaves]

        def join(floats, others):
            given = zip(floats, others, leaves, strict=True)
            return tree.unflatten(
                [next((one for one in ones if one is not None), None) for ones in given]
            )

        return floats, others, join

    def call(self, net, params, state, floats, others, train=False):
        args, kwargs = self.parts[2](floats, others)
        return net.apply(params, state, *args, key=KEY, train=train, **kwargs)

    def graded(self, net, params, state, floats, others, train):
        """Return outputs and state, and gradients of params and inputs."""

        def loss(wanted):
            output, left = self.call(net, wanted[0], state, wanted[1], others, train)
            made = [leaf for leaf in jax.tree.leaves(output) if is_float(leaf)]
            total = sum((_weighed(leaf) for leaf in made), start=jnp.zeros(()))
            return total, (output, left)

        if not self.row.gradients:
            return *loss((params, floats))[1], ()
        grads, (output, left) = jax.grad(loss, has_aux=True)((params, floats))
        return output, left, grads


def _weighed(leaf):
    wide = leaf.astype(jnp.float32)
    return jnp.sum(wide * drawn.weights(leaf.shape).astype(np.float32))


def rounded(tree, dtype):
    """The numbers that 16 bits hold, in 32."""

    def one(leaf):
        return jnp.asarray(leaf).astype(dtype).astype(leaf.dtype) if is_float(leaf) else leaf

    return jax.tree.map(one, tree)


def cases():
    """All rows that run: those that are to raise are no rows, and experts are met elsewhere."""
    return [Case(row) for row in all_rows() if isinstance(row, Layer)]
