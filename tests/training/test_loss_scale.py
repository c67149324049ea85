"""A dynamic loss scale, step for step as ``torch.amp.GradScaler``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, training

KEY = jax.random.key(0)
SETTINGS = {
    "init_scale": 1024.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 3,
}
BAD = {2, 3, 9}
"""The steps whose gradients overflow."""


def _factor(step):
    return np.float32(np.inf) if step in BAD else np.float32(1 + step)


def _theirs(steps):
    import torch

    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", **SETTINGS)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (weight**2).sum() * float(_factor(step))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        yield weight.detach().numpy().copy(), scaler.get_scale()


def _by_hand(steps):
    scale, optimizer = training.dynamic_loss_scale(**SETTINGS), optim.adam(0.1)
    weight = jnp.array([1.0, 2.0])
    state, opt_state = scale.init(), optimizer.init(weight)
    for step in range(steps):
        loss = lambda w: scale.scaled(state, (w**2).sum() * _factor(step))
        grads, finite = scale.unscale(state, jax.grad(loss)(weight))
        if finite:
            updates, opt_state = optimizer.update(grads, opt_state, weight)
            weight = optim.apply_updates(weight, updates)
        state = scale.update(state, finite)
        yield weight, float(state.scale)


def _objective(params, state, batch, key, train):
    loss = (params["w"] ** 2).sum() * batch
    return loss, ({"loss": loss}, {"seen": state["seen"] + 1})


def _by_step(steps):
    scale, optimizer = training.dynamic_loss_scale(**SETTINGS), optim.adam(0.1)
    params, state = {"w": jnp.array([1.0, 2.0])}, {"seen": jnp.zeros(())}
    opt_state = scale.wrap(optimizer).init(params)
    run = training.TrainState(params, state, opt_state, jnp.zeros((), jnp.int32), KEY)
    step = jax.jit(training.make_train_step(_objective, optimizer, loss_scale=scale))
    for number in range(steps):
        run, metrics = step(run, _factor(number))
        if number not in BAD:
            assert float(metrics["loss"]) < 200, "metrics are not scaled"
        assert float(run.state["seen"]) == number + 1 - len([bad for bad in BAD if bad <= number])
        yield run.params["w"], float(run.opt_state.scale)


@pytest.mark.parametrize("ours", [_by_hand, _by_step])
def test_as_pytorchs(ours):
    pytest.importorskip("torch")
    for (weight, scale), (right, right_scale) in zip(ours(14), _theirs(14), strict=True):
        assert scale == right_scale
        np.testing.assert_allclose(weight, right, rtol=1e-5)


def test_the_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.amp.GradScaler("cpu"), training.dynamic_loss_scale()
    assert ours.growth_factor == theirs.get_growth_factor()
    assert ours.backoff_factor == theirs.get_backoff_factor()
    assert ours.growth_interval == theirs.get_growth_interval()
    assert ours.init_scale == theirs.get_scale()


def _run():
    net = fn.mixed_precision(fn.functionalize(nn.Linear(4, 3)), jnp.float16)
    scale = training.dynamic_loss_scale(init_scale=2.0**30)
    run = training.TrainState.create(net, optim.adam(0.1), KEY, loss_scale=scale)
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    return run, objective, scale


BATCH = {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])}


def test_a_scale_that_is_too_large_comes_down_and_is_resumed(tmp_path):
    run, objective, scale = _run()
    start = run.params
    step = jax.jit(training.make_train_step(objective, optim.adam(0.1), loss_scale=scale))
    run, _ = step(run, BATCH)
    assert int(run.opt_state.skipped) == 1
    for leaf, before in zip(jax.tree.leaves(run.params), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(leaf, before)
    fn.checkpoint.save(tmp_path / "run", run)
    again = fn.checkpoint.load(tmp_path / "run", like=_run()[0])
    for _ in range(19):
        run, _ = step(run, BATCH)
        again, _ = step(again, BATCH)
    assert float(run.opt_state.scale) == float(again.opt_state.scale) < 2.0**30
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(run.params))


def test_fit_scales_the_loss_of_an_optimizer_that_undoes_it():
    _, objective, scale = _run()
    optimizer = scale.wrap(optim.sgd(0.1))
    run = training.TrainState.create(objective.net, optimizer, KEY)
    run, _ = training.fit(objective, optimizer, run, [BATCH] * 30, epochs=1, progress=False)
    plain = fn.functionalize(nn.Linear(4, 3))
    right = training.TrainState.create(plain, optim.sgd(0.1), KEY)
    objective = training.supervised(plain, F.cross_entropy, inputs="x", targets="y")
    taken = 30 - int(run.opt_state.skipped)
    right, _ = training.fit(
        objective, optim.sgd(0.1), right, [BATCH] * taken, epochs=1, progress=False
    )
    np.testing.assert_allclose(run.params["weight"], right.params["weight"], atol=2e-3)


def test_a_run_without_the_scale_is_told():
    _, objective, scale = _run()
    plain = training.TrainState.create(objective.net, optim.adam(0.1), KEY)
    step = training.make_train_step(objective, optim.adam(0.1), loss_scale=scale)
    with pytest.raises(TypeError, match="loss_scale=scale"):
        step(plain, BATCH)
    with pytest.raises(ValueError, match="init_scale"):
        training.dynamic_loss_scale(init_scale=-1.0)
