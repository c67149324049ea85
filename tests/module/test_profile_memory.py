"""What holds a step's peak: cases whose answer is known, and what the compiler reserves."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn, optim

KEY = jax.random.key(0)
WIDTH = 64
PIECE = WIDTH * 4
"""Bytes of one row of activations."""


def chain(depth, wrap=lambda block: block):
    return nn.Sequential(
        *(wrap(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())) for _ in range(depth))
    )


def step_of(net, optimizer):
    def step(params, opt_state, batch):
        loss, grads = fn.value_and_grad(lambda p: jnp.sum(net.apply(p, {}, batch)[0] ** 2))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, loss

    return step


def profile(module, rows=512, jit=None, compile=False):
    net = fn.functionalize(module)
    params, _ = jax.eval_shape(net.init, KEY)
    optimizer = optim.adam(1e-3)
    opt_state = jax.eval_shape(optimizer.init, params)
    step = step_of(net, optimizer)
    step = step if jit is None else jax.jit(step, donate_argnums=jit)
    batch = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
    return fn.profile_memory(step, params, opt_state, batch, net=net, compile=compile)


@pytest.mark.parametrize("rows", [256, 512])
def test_activations_grow_with_depth_and_with_the_batch(rows):
    residuals = [profile(chain(depth), rows).by_kind()["residual"] for depth in (2, 4, 6, 8)]
    # the inputs of tanh and of the next linear layer are kept
    assert [b - a for a, b in pairwise(residuals)] == [4 * rows * PIECE] * 3
    assert residuals[0] == 4 * rows * PIECE


def test_each_layer_has_its_own():
    found = profile(chain(3)).by_layer("residual")
    inner = {path: size for path, size in found.items() if path}
    assert inner == dict.fromkeys(["0.0", "0.1", "1.0", "1.1", "2.0"], 512 * PIECE)
    assert found[""] == 512 * PIECE  # what the loss squares


def test_what_is_computed_again_is_not_kept():
    plain, again = profile(chain(8)), profile(chain(8, nn.Remat))
    assert again.by_kind()["residual"] <= plain.by_kind()["residual"] / 2
    assert again.peak < plain.peak


@pytest.mark.parametrize("depth", [4, 8])
def test_a_loop_keeps_what_the_layers_written_out_keep(depth):
    block = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
    loop, plain = profile(nn.Repeat(block, depth)), profile(chain(depth))
    assert abs(loop.by_kind()["residual"] - plain.by_kind()["residual"]) <= 512 * PIECE
    assert any(path.startswith("module.") for path in loop.by_layer("residual"))


def test_arguments_by_their_names():
    found = profile(chain(2)).by_argument()
    params = 2 * (WIDTH + 1) * WIDTH * 4
    assert found["params"] == params
    assert found["opt_state.slots"] == 2 * params
    assert found["batch"] == 512 * PIECE


@pytest.mark.parametrize("donated", [(), (0, 1)])
@pytest.mark.parametrize("depth", [2, 6])
def test_it_is_near_what_the_compiler_reserves(depth, donated):
    found = profile(chain(depth), jit=donated, compile=True)
    assert found.compiled.arguments == found.by_kind()["argument"]
    assert (found.compiled.shared > 0) == bool(donated)
    # the rest is what is joined, ordered anew, or returned beside what is held at the peak
    assert 0.7 < found.compiled.total / found.peak < 1.3


def test_where_updates_are_larger_than_activations_donating_spares_room():
    kept, given = (profile(chain(4), rows=1, jit=jit) for jit in ((), (0, 1)))
    assert given.peak < kept.peak


def test_only_what_is_alive_counts():
    def long(x):
        for _ in range(20):
            x = jnp.sin(x)
        return x

    x = jnp.ones(100)
    assert fn.profile_memory(long, x, compile=False).peak == 800  # the argument and one more
    assert (
        fn.profile_memory(lambda x: x @ x.T, jnp.ones((10, 1)), compile=False).peak == 40 + 40 + 400
    )
    unused = fn.profile_memory(lambda x: (jnp.outer(x, x), x + 1)[1], x, compile=False)
    assert unused.peak == 800


def test_branches_and_loops_count_their_largest():
    def wide(x):
        return jnp.outer(x, x) @ x

    x = jnp.ones(10)
    both = fn.profile_memory(lambda x: jax.lax.cond(x[0] > 0, wide, jnp.sin, x), x, compile=False)
    assert 400 <= both.peak <= 400 + 5 * 40
    turns = fn.profile_memory(
        lambda x: jax.lax.while_loop(lambda x: x[0] < 9, wide, x), x, compile=False
    )
    assert 400 <= turns.peak <= 400 + 5 * 40


def test_the_table_and_lines():
    found = profile(chain(2), compile=True)
    text = str(found)
    assert "0.0 (Linear)" in text
    assert "argument opt_state.slots" in text
    assert "compiled: " in text
    lines = [value.line for value in found.values if value.kind == "residual"]
    assert any("test_profile_memory.py" in line for line in lines)
    net = fn.functionalize(nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH)))
    forward = fn.profile_memory(net, *net.init(KEY), jnp.ones((8, WIDTH)), compile=False)
    assert forward.by_layer()["0"]
    assert "unknown" not in str(forward)
    constant = jnp.ones(50)
    closed = fn.profile_memory(lambda x: x + constant.sum(), jnp.ones(3), compile=False)
    assert closed.by_argument()["constants"] == 200


def test_a_model_or_a_step_without_one():
    net = fn.functionalize(chain(2))
    params, state = net.init(KEY)
    forward = fn.profile_memory(net, params, state, jnp.ones((8, WIDTH)), compile=False)
    assert forward.by_kind()["residual"] == 0
    loss = step_of(net, optim.sgd(0.1))
    batch = jnp.ones((512, WIDTH))
    unnamed = fn.profile_memory(loss, params, optim.sgd(0.1).init(params), batch, compile=False)
    assert "Sequential/0.1" in unnamed.by_layer("residual")
    with pytest.raises(TypeError, match="functionalize"):
        fn.profile_memory(chain(2), params, state, jnp.ones((8, WIDTH)))
