"""LearningRate and GradientNorms: what they say is what the optimizer did."""

import functools
import inspect
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim
from funcnet.training import GradientNorms, History, JSONLog, LearningRate, Loop
from funcnet.training.observers.optimizer_readings import optimizer_numbers
from tests.training.observers.runs import OBJECTIVE, batches, by_hand, fit, new_run


def logged(folder, observer, **options):
    """Return what an observer reports, by step."""
    fit([observer, JSONLog(folder / "log.jsonl", every=None)], **options)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    left = {"step", "epoch", "seconds"}
    reported = {row["step"]: {n: v for n, v in row.items() if n not in left and "train/" not in n and "eval/" not in n} for row in rows}  # fmt: skip  # noqa: E501
    return {step: values for step, values in reported.items() if values}


def falling(step):
    return 0.1 / (1 + jnp.asarray(step, jnp.float32))


WRAPPED = {
    "plain": (lambda lr: optim.sgd(lr), {"lr": 1}),
    "chain": (lambda lr: optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(lr)), {"lr": 1}),
    "chain of two": (lambda lr: optim.chain(optim.sgd(lr), optim.sgd(1.0)), {"0.lr": 1, "1.lr": None}),
    "accumulate": (lambda lr: optim.accumulate(optim.sgd(lr), 2), {"lr": 2}),
    "loss_scale": (lambda lr: optim.loss_scale(optim.adam(lr), 8.0), {"lr": 1, "loss_scale": None}),
    "groups": (
        lambda lr: optim.groups({"*bias": {"lr_scale": 1.0}, "*": {}}, optim.adam, lr=lr),
        {"*bias.lr": 1, "*.lr": 1},
    ),
    "freeze": (lambda lr: optim.freeze(optim.sgd(lr), "0.*"), {"lr": 1}),
    "lookahead": (lambda lr: optim.lookahead(optim.sgd(lr)), {"lr": 1}),
    "average": (lambda lr: optim.average(optim.sgd(lr), 0.9), {"lr": 1}),
    "skip_nonfinite": (lambda lr: optim.skip_nonfinite(optim.lion(lr)), {"lr": 1}),
    "master_copy": (lambda lr: optim.master_copy(optim.sgd(lr)), {"lr": 1}),
    "packed": (lambda lr: optim.packed(optim.adam(lr)), {"lr": 1}),
    "all at once": (
        lambda lr: optim.loss_scale(
            optim.accumulate(
                optim.skip_nonfinite(
                    optim.chain(optim.clip_by_value(1.0), optim.average(optim.adam(lr), 0.9))), 1)
        ),
        {"lr": 1, "loss_scale": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_the_rate_is_that_of_the_latest_step(name):
    make, expected = WRAPPED[name]
    optimizer = make(falling)
    params = {"0": {"weight": jnp.ones(2), "bias": jnp.ones(1)}, "2": {"weight": jnp.ones(1)}}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step in range(1, 5):
        _, state = update(params, state, params)
        if step % 2 == 0:
            values = told(state)
            assert set(values) == set(expected)
            for rate, divided in expected.items():
                if divided is not None:
                    used = float(falling(step // divided - 1))
                    np.testing.assert_allclose(values[rate], used, rtol=1e-6)  # float32


def told(opt_state):
    """What LearningRate reports of an optimizer's state."""
    run = fn.training.TrainState({}, {}, opt_state, 0, 0)
    loop = Loop(run, 0, None, None, None, History())
    LearningRate(every=1).on_step(loop)
    return loop.reported


RATED = [
    name for name in sorted(optim.__all__)
    if callable(getattr(optim, name)) and name.islower()
]  # fmt: skip


def test_any_optimizer_tells_its_rate():
    """Every factory that takes ``lr`` has it in its state, as it was given."""
    met = 0
    for name in RATED:
        factory = getattr(optim, name)
        try:
            takes = "lr" in inspect.signature(factory).parameters
        except (TypeError, ValueError):
            continue
        if not takes or name == "rprop":  # whose lr is where each number's own step begins
            continue
        state = factory(lr=0.03).init({"w": jnp.ones((2, 2))})
        assert "lr" in optimizer_numbers(state), name
        met += 1
    assert met > 25


def test_a_rate_set_by_hand_is_reported(tmp_path):
    run = new_run(optim.sgd(0.5))
    run = replace(run, opt_state=optim.with_hyperparams(run.opt_state, lr=0.25))
    found = logged(tmp_path, LearningRate(every=5), optimizer=optim.sgd(0.5), run=run, epochs=1)
    assert found == {5: {"lr": 0.25}}


def test_more_numbers_by_pattern(tmp_path):
    found = logged(tmp_path, LearningRate(every=5, names=["betas.*", "eps"]), epochs=1)
    assert found[5] == pytest.approx({"betas.0": 0.9, "betas.1": 0.999, "eps": 1e-8})


def test_rates_that_optax_injects(tmp_path):
    optax = pytest.importorskip("optax")
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=falling)
    found = logged(tmp_path, LearningRate(every=5), optimizer=optimizer, epochs=1)
    assert found[5]["learning_rate"] == pytest.approx(float(falling(4)))
    with pytest.raises(ValueError, match="inject_hyperparams"):
        fit([LearningRate()], optimizer=optax.sgd(0.1))


def test_a_dynamic_loss_scale_is_reported(tmp_path):
    scale = fn.training.dynamic_loss_scale(init_scale=4.0)
    optimizer = scale.wrap(optim.sgd(0.1))
    found = logged(tmp_path, LearningRate(every=5), optimizer=optimizer, epochs=1)
    assert found == {5: {"lr": pytest.approx(0.1), "loss_scale": 4.0}}


# ---- gradients -----------------------------------------------------------------------------------


@functools.cache
def by_numpy(step):
    """The gradient, the update and the parameters of a step, computed outside of fit."""
    optimizer = SGD
    run = fit([], optimizer=optimizer, steps=step - 1, evaluation=None)[0]
    batch = batches()[(step - 1) % 5]
    grads = jax.grad(lambda p: OBJECTIVE(p, run.state, batch, None, True)[0])(run.params)
    updates, _ = optimizer.update(grads, run.opt_state, run.params)
    return run.params, grads, updates


def norm(*leaves):
    return np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in leaves))


SGD = optim.sgd(0.1)


@pytest.mark.parametrize("optimizer", [SGD, optim.loss_scale(SGD, 64.0)], ids=["sgd", "scaled"])
def test_norms_are_those_of_numpy(tmp_path, optimizer):
    observer = GradientNorms(every=3, ratios=True)
    found = logged(tmp_path, observer, optimizer=optimizer, epochs=2)
    assert [*found] == [3, 6, 9]
    for step, values in found.items():
        params, grads, updates = by_numpy(step)
        expected = {"gradient_norm": norm(*jax.tree.leaves(grads))}
        for layer in ("0", "2"):
            expected[f"gradient_norm/{layer}"] = norm(*grads[layer].values())
            ratio = norm(*updates[layer].values()) / norm(*params[layer].values())
            expected[f"update_ratio/{layer}"] = ratio
        assert values == pytest.approx(expected, rel=1e-5)  # float32


def test_layers_by_pattern(tmp_path):
    found = logged(
        tmp_path, GradientNorms(every=5, layers=["*weight", "0.*"]), optimizer=SGD, epochs=1,
    )  # fmt: skip
    _, grads, _ = by_numpy(5)
    assert found[5] == pytest.approx(
        {
            "gradient_norm": norm(*jax.tree.leaves(grads)),
            "gradient_norm/*weight": norm(grads["0"]["weight"], grads["2"]["weight"]),
            "gradient_norm/0.*": norm(*grads["0"].values()),
        },
        rel=1e-5,
    )
    with pytest.raises(ValueError, match="pattern 'head' matches no path"):
        fit([GradientNorms(layers="head")])


@pytest.mark.parametrize("options", [
    {"optimizer": optim.freeze(optim.sgd(0.1), "0.*")}, {"objective": by_hand},
    {"optimizer": optim.accumulate(optim.sgd(0.1), 2)},
], ids=["frozen", "by hand", "accumulated"])  # fmt: skip
def test_norms_of_other_runs_are_finite(tmp_path, options):
    found = logged(tmp_path, GradientNorms(every=2, ratios=True), epochs=1, **options)
    assert [*found] == [2, 4]
    assert all(np.isfinite([*values.values()]).all() for values in found.values())
    if "frozen" in str(options):
        assert found[2]["update_ratio/0"] == 0


def test_another_fit_knows_what_is_measured_again():
    one, other = (GradientNorms(5, ["*"], ratios=True).measure for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != GradientNorms(5).measure


def test_norms_on_a_mesh_are_those_of_one_device(tmp_path):
    mesh = fn.parallel.mesh(data=2, devices=jax.devices()[:2])
    one = logged(tmp_path / "one", GradientNorms(every=5), epochs=1)
    two = logged(tmp_path / "two", GradientNorms(every=5), epochs=1, mesh=mesh)
    assert one[5] == pytest.approx(two[5], rel=1e-5)


def test_measured_numbers_are_logged_once_at_their_steps(tmp_path):
    log = JSONLog(tmp_path / "log.jsonl", every=2)
    fit([log, GradientNorms(every=3)], epochs=2, evaluation=None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "gradient_norm" in row] == [3, 6, 9]
