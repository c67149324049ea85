"""Traced functions read and walked: on every JAX alike, whatever it calls their parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.core.jax_internals.compilation import trace_state
from funcnet.core.jax_internals.programs import Branches, ScanLoop, WhileLoop, trace, walk


@jax.custom_jvp
def ruled(x):
    return x * 3.0


ruled.defjvp(lambda primals, tangents: (ruled(*primals), 0.0 * tangents[0]))

CALLS = {
    "jit": jax.jit(lambda x: x * 3.0),
    "checkpoint": jax.checkpoint(lambda x: x * 3.0),
    "custom_jvp": ruled,
    # a traced function called as one operation: JAX names it anew in 0.11
    "traced": lambda x: trace(lambda x: x * 3.0, x)[0](x)[0],
}


def interpret(program, arguments):
    """Run a program by its single operations, inside calls too, and list their names."""
    names = []

    def visit(operation, operands):
        if operation.called is not None:
            return walk(operation.called, operands, visit)
        names.append(operation.name)
        return operation.evaluate(operands)

    return walk(program, arguments, visit), names


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_opened(name):
    program, shape = trace(lambda x: CALLS[name](x) + 1.0, jnp.ones(2))
    values, names = interpret(program, [np.array([1.0, 2.0], np.float32)])
    assert names == ["mul", "add"]
    assert (shape.shape, shape.dtype) == ((2,), jnp.float32)
    np.testing.assert_array_equal(values[0], [4.0, 7.0])
    rules = [operation.has_derivative_rule for operation in program.operations]
    assert any(rules) == (name == "custom_jvp")


def test_constants_and_effects():
    table = jnp.arange(3.0)

    def fun(x):
        jax.debug.callback(lambda x: None, x)
        return x + table, 2.0

    program, _ = trace(fun, jnp.ones(3))
    acts = [operation.only_acts for operation in program.operations]
    assert acts.count(True) == 1
    known = lambda operation, operands: [all(operands)] * len(operation.results)
    assert walk(program, [False], known, constant=lambda value: True) == [False, True]
    assert [each.shape for each in program.arguments] == [(3,)]


def test_loops_and_branches_are_read():
    def fun(x, rows, scale):
        x, out = jax.lax.scan(lambda c, row: (c + row * scale, c), x, rows, reverse=True)
        x = jax.lax.while_loop(lambda x: x.sum() < scale, lambda x: x + rows[0], x)
        return jax.lax.cond(scale > 0, jnp.sin, jnp.cos, x), out

    program, _ = trace(fun, jnp.ones(2), jnp.ones((5, 2)), 1.0)
    scan, loop, choice = [o.control for o in program.operations if o.control is not None]
    assert isinstance(scan, ScanLoop)
    assert (scan.length, scan.reverse, scan.shared, scan.carried) == (5, True, 1, 1)
    assert len(scan.body.arguments) == 3
    assert isinstance(loop, WhileLoop)
    assert (loop.test_operands, loop.body_operands) == (1, 1)
    assert isinstance(choice, Branches)
    assert [p.operations[-1].name for p in choice.programs] == ["cos", "sin"]


def test_products_and_what_keeps_numbers():
    fun = lambda w, x: jnp.einsum("oi,bi->bo", w.astype(jnp.float32), x).T
    program, _ = trace(fun, jnp.ones((3, 2), jnp.bfloat16), jnp.ones((4, 2)))
    products = [o.product for o in interpreted(program) if o.product is not None]
    assert [[tuple(axes) for axes in p.contracted] for p in products] == [[(1,), (1,)]]
    kept = [o.name for o in interpreted(program) if o.keeps_numbers]
    assert {"convert_element_type", "transpose"} == set(kept)


def interpreted(program):
    for operation in program.operations:
        yield operation
        if operation.called is not None:
            yield from interpreted(operation.called)


def test_where_an_operation_comes_from():
    def fun(x):
        with jax.named_scope("blocks.0"):
            return jnp.sin(x).sum()

    program, _ = trace(jax.grad(jax.checkpoint(fun)), jnp.ones(2))
    cosine = next(o for o in interpreted(program) if o.name == "cos")
    assert cosine.scope == "blocks.0"
    assert any(o.is_transposed for o in program.operations)
    assert not trace(fun, jnp.ones(2))[0].operations[0].is_transposed
    frame = next(frame for frame in cosine.frames if frame.file == __file__)
    assert frame.function.endswith("fun")


def test_a_trace_is_told_from_another():
    assert trace_state() == trace_state()
    seen = []

    def body(x):
        seen.append(trace_state())
        return x

    jax.vmap(body)(jnp.ones(2))
    jax.jit(body)(1.0)
    assert len({id(state) for state in seen}) == 2
    assert seen[0] != trace_state()
    assert seen[1] != trace_state()
