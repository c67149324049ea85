"""Optimizers solve the test problems of their field, follow schedules as PyTorch does, are saved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet import optim
from funcnet.core.paths import flatten, leaves_with_paths, nest
from funcnet.optim import schedules
from tests.optim import problem
from tests.tracing import CountingJit


def minimize(optimizer, loss, params, steps):
    """Run all steps in one scan; return the last parameters."""

    def one(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optim.apply_updates(params, updates), state), None

    def run(params):
        return jax.lax.scan(one, (params, optimizer.init(params)), None, length=steps)[0][0]

    return jax.jit(run)(params)


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


ROSENBROCK = {
    "sgd": optim.sgd(1e-3, momentum=0.9),
    "adam": optim.adam(schedules.cosine(0.2, 2000)),
    "nadam": optim.nadam(schedules.cosine(0.05, 2000)),
    "adan": optim.adan(schedules.cosine(0.1, 2000)),
    "lion": optim.lion(schedules.cosine(0.02, 2000)),
    "yogi": optim.yogi(schedules.cosine(0.1, 2000)),
    "rprop": optim.rprop(1e-2),
    "lookahead": optim.lookahead(optim.adam(schedules.cosine(0.2, 2000))),
}


@pytest.mark.parametrize("name", ROSENBROCK)
def test_rosenbrock(name):
    p = minimize(ROSENBROCK[name], rosenbrock, jnp.array([-1.2, 1.0]), 2000)
    np.testing.assert_allclose(p, 1.0, atol=0.05)


LOGISTIC = {
    "adamw": optim.adamw(1e-2),
    "radam": optim.radam(5e-2),
    "rmsprop": optim.rmsprop(1e-2),
    "schedule_free_adamw": optim.schedule_free_adamw(1e-2),
    "lamb": optim.lamb(5e-2),
    "lars": optim.lars(2.0, trust_coefficient=0.02),
    "muon": optim.groups({"w": optim.muon(2e-2), "b": optim.adamw(1e-2)}),
    "adafactor": optim.adafactor(0.1, eps=(None, 0.1)),
    "shampoo": optim.shampoo(0.1, momentum=0.5, every=10),
    "soap": optim.soap(1e-2),
    "sm3": optim.sm3(0.1),
    "adagrad": optim.adagrad(0.1),
    "prodigy": optim.prodigy(),
    "novograd": optim.novograd(5e-3),
}


@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic_regression_on_real_digits(name):
    x, y = problem.digits(400)
    x = x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1)

    def loss(p):
        logits = x @ p["w"] + p["b"]
        return (jax.nn.logsumexp(logits, -1) - jnp.sum(logits * jax.nn.one_hot(y, 10), -1)).mean()

    start = {"w": 0.01 * jax.random.normal(jax.random.key(0), (196, 10)), "b": jnp.zeros(10)}
    p = minimize(LOGISTIC[name], loss, start, 150)
    accuracy = float(((x @ p["w"] + p["b"]).argmax(-1) == y).mean())
    assert accuracy > 0.9, accuracy


def test_schedules_of_rate_and_momentum_drive_steps_as_in_pytorch(x64):
    torch = pytest.importorskip("torch")
    params, noise = problem.make(20)
    cases = [
        (
            optim.sgd(schedules.one_cycle(0.5, 20), momentum=schedules.one_cycle_momentum(20)),
            lambda t: torch.optim.SGD(t, lr=0.1, momentum=0.9),
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, 20),
        ),
        (
            optim.adamw(schedules.cyclic(0.01, 0.1, 3), (schedules.cyclic(0.9, 0.8, 3), 0.99)),
            lambda t: torch.optim.AdamW(t, betas=(0.9, 0.99)),
            lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, 3),
        ),
        (
            optim.asgd(schedules.step(0.1, 3, 0.5), lambd=0.1),
            lambda t: torch.optim.ASGD(t, lr=0.1, lambd=0.1),
            lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
        ),
        (
            optim.rprop(schedules.linear(0.1, 0.2)),
            lambda t: torch.optim.Rprop(t, lr=0.1),
            lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.2),
        ),
    ]
    for ours, theirs, scheduler in cases:
        path, _ = problem.run(ours, params, noise)
        reference = problem.run_torch(theirs, params, noise, scheduler)
        problem.assert_same(path, reference)


def test_state_survives_being_taken_apart_by_path(tmp_path):
    params = {"fc": {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(2)}}
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.packed(optim.nadam(0.1)),
        optim.groups({"*.bias": optim.sgd(0.1, momentum=0.9), "*": optim.adamw(0.1)}),
    )
    step = CountingJit(optimizer.update)
    _, state = step(params, optimizer.init(params), params)
    flat = {path: np.asarray(leaf) for path, leaf in leaves_with_paths(state)}
    assert len(flat) == len(jax.tree.leaves(state))
    np.savez(tmp_path / "state.npz", **flat)
    with np.load(tmp_path / "state.npz") as file:
        loaded = [jnp.asarray(file[path]) for path, _ in leaves_with_paths(state)]
    restored = jax.tree.unflatten(jax.tree.structure(optimizer.init(params)), loaded)
    expected, _ = step(params, state, params)
    updates, _ = step(params, restored, params)
    jax.tree.map(np.testing.assert_array_equal, updates, expected)
    assert step.traces == 1
    assert nest(flatten({"a": {"b": 1}})) == {"a": {"b": 1}}


def test_state_is_sharded_like_the_parameters():
    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("x")), NamedSharding(mesh, PartitionSpec())
    params = {"w": jax.device_put(jnp.arange(32.0).reshape(8, 4), rows)}
    params["b"] = jax.device_put(jnp.ones(4), whole)
    optimizer = optim.adamw(0.1)
    state = jax.jit(optimizer.init)(params)
    moments = jax.tree.map(jax.device_put, state.slots["exp_avg"], {"w": rows, "b": whole})
    state = state._replace(slots={**state.slots, "exp_avg": moments})

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(params, state, params)
        return optim.apply_updates(params, updates), state

    new, after = step(params, state)
    assert new["w"].sharding.is_equivalent_to(rows, 2)
    assert after.slots["exp_avg"]["w"].sharding.is_equivalent_to(rows, 2)
    local = jax.tree.map(np.asarray, params)
    expected, _ = optimizer.update(local, optimizer.init(local), local)
    np.testing.assert_allclose(new["w"], local["w"] + expected["w"], rtol=1e-6)
