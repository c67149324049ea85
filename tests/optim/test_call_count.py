"""How many Python calls an update makes: a compiled step pays for them once, an eager one always."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import funcnet
from funcnet import optim

PACKAGE = str(Path(funcnet.__file__).parent)
PARAMS = {f"layer_{i}": jnp.ones((4, 4)) for i in range(100)}


def calls(function, *args, inside=""):
    """Count the calls of Python functions whose file is inside a folder."""
    count = 0

    def profile(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(inside)

    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return count


def eager(optimizer, **kwargs):
    args = (PARAMS, optimizer.init(PARAMS), PARAMS)
    optimizer.update(*args)  # JAX fills its caches
    return calls(optimizer.update, *args, **kwargs)


def traced(optimizer, **kwargs):
    args = (PARAMS, optimizer.init(PARAMS), PARAMS)
    jax.make_jaxpr(lambda *args: optimizer.update(*args))(*args)
    # A new function: what was traced before is not looked up.
    return calls(jax.make_jaxpr(lambda *args: optimizer.update(*args)), *args, **kwargs)


@pytest.mark.parametrize("count", [eager, traced])
def test_adamw_calls_no_more_than_optax(count):
    optax = pytest.importorskip("optax")
    folder = str(Path(optax.__file__).parent)
    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = optim.adamw(1e-3), optax.adamw(1e-3, weight_decay=1e-2)
        assert count(ours) <= count(theirs)
        assert count(ours, inside=PACKAGE) <= count(theirs, inside=folder)


def test_applying_updates_calls_no_more_than_optax():
    optax = pytest.importorskip("optax")
    counted = []
    for apply in (optim.apply_updates, optax.apply_updates):
        apply(PARAMS, PARAMS)
        counted.append(calls(apply, PARAMS, PARAMS))
    assert counted[0] <= counted[1]


def test_leaves_that_need_no_conversion_get_none():
    """Each leaf costs as many equations as its formula has, and eleven calls of funcnet."""
    params = {"w": PARAMS["layer_0"]}
    optimizer = optim.adamw(1e-3)

    def equations(params):
        state = optimizer.init(params)
        return len(jax.make_jaxpr(optimizer.update)(params, state, params).eqns)

    many = equations(PARAMS)
    # m, v: 3 and 4; the step: root, sum, quotient, product; the decay: product and difference.
    assert (many - equations(params)) / 99 == 13
    assert eager(optim.adamw(1e-3), inside=PACKAGE) <= 1100
    halves = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    # Gradient and parameter are wide_copy, the update is rounded; the moments are wide already.
    assert equations(halves) - equations(params) == 3
