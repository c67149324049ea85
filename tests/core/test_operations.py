"""What operations are called, and their settings: the same for every release of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from funcnet.core.jax_internals.operations import inner_call, operation_kind, settings_of
from funcnet.core.jax_internals.programs import Program, trace
from funcnet.core.jax_internals.steps import steps_of

X = np.ones((4, 3), np.float32)

KINDS = {
    "add": lambda x: x + x,
    "scatter_add": lambda x: x.at[jnp.array([1])].add(x[:1]),
    "gather": lambda x: x[jnp.array([1, 2])],
    "reduce_or": lambda x: jnp.any(x > 0),
    "is_finite": jnp.isfinite,
    "sort": jnp.sort,
    "scan": lambda x: lax.scan(lambda c, r: (c + r, r), x[0], x),
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 3, lambda c: c + 1, x),
    "cond": lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
    "platform_index": lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos),
    "stack": lambda x: jnp.stack([x, x]),
    "unstack": jnp.unstack,
    "split": lambda x: jnp.split(x, 2),
    "dot_general": lambda x: x @ x.T,
    "conv_general_dilated": lambda x: lax.conv(x[None, None], x[None, None], (1, 1), "SAME"),
    "reduce_window_sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), "SAME"),
    "optimization_barrier": lax.optimization_barrier,
    "reduce_precision": lambda x: lax.reduce_precision(x, 8, 7),
}


def kinds(function):
    return [operation_kind(step.operation) for step in steps_of(trace(function, X)[0]).each]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    assert kind in kinds(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_plain(kind):
    plain = (int, float, str, bool, tuple, np.dtype, np.ndarray, Program, type(None))
    for step in steps_of(trace(KINDS[kind], X)[0]).each:
        for name, value in settings_of(step.operation).items():
            assert isinstance(value, plain), (operation_kind(step.operation), name, value)


def settings(kind, function, *arrays):
    program, _ = trace(function, *(arrays or [X]))
    (found,) = [s.operation for s in steps_of(program).each if operation_kind(s.operation) == kind]
    return settings_of(found)


def test_numbers_of_dimensions_are_taken_apart():
    assert settings("dot_general", KINDS["dot_general"])["contracting"] == ((1,), (0,))
    found = settings("gather", lambda x: jnp.take(x, jnp.array([1, 2]), axis=0, mode="clip"))
    assert found["mode"] == "clip"
    assert found["slice_sizes"] == (1, 3)
    assert found["collapsed_slice_dims"] == (0,)
    assert settings("platform_index", KINDS["platform_index"]) == {"default": 1}


def with_jvp():
    function = jax.custom_jvp(jnp.sin)
    function.defjvps(lambda tangent, _, x: tangent * jnp.cos(x))
    return function


def with_vjp():
    function = jax.custom_vjp(jnp.sin)
    function.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (ct * jnp.cos(x),))
    return function


@pytest.mark.parametrize(
    "call",
    [
        jax.jit(jnp.sin),
        jax.checkpoint(jnp.sin),
        with_jvp(),
        with_vjp(),
        lambda x: lax.custom_linear_solve(lambda y: y * 2, jnp.sin(x), lambda _, b: b / 2),
        jnp.nonzero,
    ],
    ids=["jit", "remat", "jvp", "vjp", "linear_solve", "nonzero"],
)
def test_calls_are_entered(call):
    function = (lambda x: jnp.nonzero(x, size=2)) if call is jnp.nonzero else call
    found = kinds(function)
    assert "call" not in found
    assert not [kind for kind in found if kind.startswith("unknown")]
    assert call is jnp.nonzero or "sin" in found


def test_a_linear_solve_comes_down_to_its_solution():
    solve = lambda x: lax.custom_linear_solve(lambda y: y * 2, x, lambda _, b: b / 2)
    assert kinds(solve) == ["div"]
    (operation,) = trace(solve, X)[0].operations
    program, places = inner_call(operation)
    assert len(places) == len(program.arguments)


def test_what_nobody_needs_is_left_out():
    def function(x):
        jnp.cos(x)
        first, _ = jax.jit(lambda y: (jnp.sin(y), jnp.tan(y)))(x)
        return first

    assert kinds(function) == ["sin"]


def test_numbers_that_stand_where_they_are_used_have_dtypes():
    steps = steps_of(trace(lambda x: (x * 2, 3), X)[0])
    (step,) = steps.each
    assert step.operands[1].array.dtype == np.float32
    assert steps.results[1].array.dtype == np.int32


def test_modules_of_operations():
    def function(x):
        with jax.named_scope("block.1"):
            return jax.jit(jnp.sin)(x)

    (step,) = steps_of(trace(function, X)[0]).each
    assert step.scope == "block.1"
