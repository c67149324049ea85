"""Our side of a row: its module, weights without PyTorch, and one jitted step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from tests.parity.inputs import arrays, is_float, merge, outputs_of, seed_of, weights
from tests.parity.table import Function, Layer, Row


def module_of(row: Row) -> Any:
    """The layer; a function becomes a module without parameters."""
    if not isinstance(row, Function):
        return row.build(fn.nn) if row.build else getattr(fn.nn, row.name)(*row.args, **row.kwargs)
    plain = getattr(fn.functional, row.name)
    run = lambda *inputs, **call: plain(*inputs, *row.args, **row.kwargs, **call)

    class Plain(fn.Module):
        def __call__(self, *inputs: Any, **call: Any) -> Any:
            return (row.ours(run) if row.ours else run)(*inputs, **call)

    return Plain()


def drawn(row: Row, module: Any) -> tuple[Any, Any]:
    """Parameters and state where PyTorch is not there to draw them, in float64."""
    shapes = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    rng = np.random.default_rng(seed_of(row))

    def draw(low: float, high: float) -> Callable[[Any], Any]:
        def one(spec: Any) -> Any:
            if not jnp.issubdtype(spec.dtype, jnp.inexact):
                return jnp.zeros(spec.shape, spec.dtype)
            return jnp.asarray(rng.uniform(low, high, spec.shape))

        return one

    params, state = shapes
    return jax.tree.map(draw(-0.7, 0.7), params), jax.tree.map(draw(0.5, 1.5), state)


def apply_of(row: Row, module: Any, train: bool) -> Callable[..., Any]:
    """A function of params, state, inputs and keywords: a list of outputs, and the new state."""
    if isinstance(row, Layer) and row.ours:

        def call(params: Any, state: Any, inputs: Any, keywords: Any) -> Any:
            bound = fn.bind(module, params, state, train=train)
            output = row.ours(bound)(*inputs, **keywords)
            return outputs_of(output), fn.unbind(bound)[1]

        return call
    net = fn.functionalize(module)

    def apply(params: Any, state: Any, inputs: Any, keywords: Any) -> Any:
        output, new = net.apply(params, state, *inputs, train=train, **keywords)
        return outputs_of(output), new

    return apply


def step_of(row: Row, module: Any, train: bool) -> Callable[..., Any]:
    """One jitted function: outputs, new state, and gradients of parameters and float inputs together."""
    apply = apply_of(row, module, train)

    @jax.jit
    def step(params: Any, state: Any, others: list[Any], floats: list[Any]) -> Any:
        def weighted(params: Any, floats: list[Any]) -> Any:
            outputs, new = apply(params, state, *merge(row, others, floats))
            sums = [
                jnp.sum(o * weights(o.shape).astype(o.dtype)).astype(jnp.float64)
                for o in outputs
                if is_float(o)
            ]
            return sum(sums, start=jnp.zeros((), jnp.float64)), (outputs, new)

        if not row.gradients:
            return (*weighted(params, floats)[1], None)
        gradients, (outputs, new) = jax.grad(weighted, (0, 1), has_aux=True)(params, floats)
        return outputs, new, gradients

    return step


def vmapped(row: Row, module: Any) -> Callable[..., Any]:
    """The outputs in evaluation, of a batch of whole calls."""
    apply = apply_of(row, module, train=False)

    def run(params: Any, state: Any, others: list[Any], floats: list[Any]) -> Any:
        return apply(params, state, *merge(row, others, floats))[0]

    return jax.jit(jax.vmap(run, in_axes=(None, None, 0, 0)))


def refused(row: Row) -> None:
    """Build and call the row as it stands, as a user would."""
    module = module_of(row)
    params, state = fn.functionalize(module).init(jax.random.key(0))
    inputs, call = jax.tree.map(
        lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, arrays(row, 0)
    )
    apply_of(row, module, train=False)(params, state, inputs, call)
