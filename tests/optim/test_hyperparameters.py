"""Hyperparameters are read and changed mid-run, follow schedules, and never recompile a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.tracing import CountingJit

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
GRADS = {"w": jnp.full((2, 3), 0.5), "b": jnp.ones(3)}


def test_read_and_change_without_recompiling():
    optimizer = optim.chain(optim.clip_by_global_norm(5.0), optim.adamw(1e-2))
    step = CountingJit(optimizer.update)
    _, state = step(GRADS, optimizer.init(PARAMS), PARAMS)
    before, _ = step(GRADS, state, PARAMS)
    state = optim.with_hyperparams(state, lr=1e-3, betas=(0.9, 0.999), weight_decay=jnp.array(0.1))
    after, state = step(GRADS, state, PARAMS)
    assert step.traces == 1
    read = optim.hyperparams(state)
    assert list(read) == ["max_norm", "lr", "betas", "eps", "weight_decay"]
    np.testing.assert_allclose(read["betas"], (0.9, 0.999), rtol=1e-6)
    np.testing.assert_allclose(before["b"], 10 * after["b"], rtol=1e-5)
    np.testing.assert_allclose(read["weight_decay"], 0.1, rtol=1e-6)


def test_shared_names_carry_their_path_and_change_together():
    optimizer = optim.chain(optim.sgd(0.1), optim.sgd(0.2))
    state = optimizer.init(PARAMS)
    assert list(optim.hyperparams(state)) == ["0.lr", "1.lr"]
    one = optim.hyperparams(optim.with_hyperparams(state, {"1.lr": 0.5}))
    both = optim.hyperparams(optim.with_hyperparams(state, lr=0.5))
    np.testing.assert_allclose([one["0.lr"], one["1.lr"]], [0.1, 0.5], rtol=1e-6)
    np.testing.assert_allclose([both["0.lr"], both["1.lr"]], [0.5, 0.5], rtol=1e-6)


def test_errors_name_what_there_is():
    state = optim.sgd(0.1).init(PARAMS)
    with pytest.raises(KeyError, match=r"momentum.*the state has: lr"):
        optim.with_hyperparams(state, momentum=0.9)
    with pytest.raises(ValueError, match="takes 2 numbers"):
        optim.with_hyperparams(optim.adam().init(PARAMS), betas=(0.9,))
    for wrong in (None, "0.1", optim.schedules.cosine(1.0, 10)):
        with pytest.raises(
            TypeError, match=r"lr is set to a number; got .*A schedule goes to the optimizer"
        ):
            optim.with_hyperparams(state, lr=wrong)
    with pytest.raises(ValueError, match=r"schedule of lr must give one number; .*shape \(1,\)"):
        optim.sgd(lambda step: jnp.ones(1)).init(PARAMS)
    with pytest.raises(ValueError, match="betas must be in"):
        optim.adam(betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="rho must be in"):
        optim.adadelta(rho=1.5)
    with pytest.raises(ValueError, match="nesterov"):
        optim.sgd(0.1, nesterov=True)
    for wrong in (jnp.ones(3), PARAMS, "0.1", [0.1], None):
        with pytest.raises(TypeError, match="lr must be a number or a schedule"):
            optim.sgd(wrong)
    with pytest.raises(ValueError, match="betas takes 2 numbers"):
        optim.adam(betas=0.9)
    with pytest.raises(ValueError, match="eps takes 2 numbers"):
        optim.adafactor(eps=1e-3)
    with pytest.raises(ValueError, match="adamw reads the parameters"):
        optim.adamw().update(GRADS, optim.adamw().init(PARAMS))
    with pytest.raises(TypeError, match="update\\(grads, state, params\\)"):
        optim.adamw().update(GRADS, PARAMS, optim.adamw().init(PARAMS))
    with pytest.raises(ValueError, match="lr came to an optimizer with lr, momentum"):
        optim.sgd(0.1, momentum=0.9).update(GRADS, state)


def test_every_number_takes_a_schedule():
    half = optim.schedules.exponential(1.0, 0.5)
    optimizer = optim.sgd(half, momentum=lambda t: 0.5 + 0.0 * t.astype(float))
    step, state = CountingJit(optimizer.update), optimizer.init({"w": jnp.zeros(1)})
    seen, velocity = [], 0.0
    for k in range(4):
        updates, state = step({"w": jnp.ones(1)}, state)
        velocity = 0.5 * velocity + 1
        np.testing.assert_allclose(updates["w"], -(0.5**k) * velocity, rtol=1e-6)
        seen.append(float(optim.hyperparams(state)["lr"]))
    assert seen == [1.0, 0.5, 0.25, 0.125]
    assert step.traces == 1


def test_an_array_zero_can_be_changed_later():
    optimizer = optim.sgd(1.0, weight_decay=jnp.array(0.0))
    state = optim.with_hyperparams(optimizer.init(PARAMS), weight_decay=0.5)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, PARAMS), state, PARAMS)
    np.testing.assert_allclose(updates["w"], -0.5)


def test_ensemble_of_learning_rates():
    rates = jnp.array([0.1, 0.2, 0.3])
    optimizer = optim.adam()
    states = jax.vmap(lambda lr: optim.adam(lr).init(PARAMS))(rates)
    updates, states = jax.vmap(optimizer.update, in_axes=(None, 0))(GRADS, states)
    np.testing.assert_allclose(updates["b"][:, 0], -rates, rtol=1e-5)
    np.testing.assert_allclose(optim.hyperparams(states)["lr"], rates, rtol=1e-6)
    slower = optim.with_hyperparams(states, lr=0.0)
    np.testing.assert_array_equal(optim.hyperparams(slower)["lr"], np.zeros(3))
