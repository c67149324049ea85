"""Trials: what they say is true of problems whose answers are known, and the run given stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim
from funcnet.training import TrainState, find_batch_size, find_learning_rate, overfit_one_batch

BATCH = {"image": jnp.eye(4), "label": jnp.array([0, 1, 0, 1])}


def made(optimizer, module=None, loss=F.cross_entropy):
    net = fn.functionalize(module or nn.Linear(4, 2))
    return fn.training.supervised(net, loss), TrainState.create(net, optimizer, jax.random.key(0))


def numbers(run):
    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return list(map(plain, jax.tree.leaves(run)))


@pytest.fixture
def unchanged():
    """Hold that a run is what it was, by its numbers, once the test is over."""
    kept = []

    def keep(run):
        kept.append((run, numbers(run)))
        return run

    yield keep
    for run, before in kept:
        for now, then in zip(numbers(run), before, strict=True):
            np.testing.assert_array_equal(now, then)


# ---- one batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [optim.sgd(1.0), optim.adam(0.1)], ids=["sgd", "adam"])
def test_a_model_that_can_learn_is_told_so(optimizer, unchanged, tmp_path):
    objective, run = made(optimizer)
    found = overfit_one_batch(objective, optimizer, unchanged(run), BATCH)
    assert found.can_learn
    assert found.losses[-1] <= found.target == found.losses[0] / 10
    assert (found.losses[:-1] > found.target).all()  # it ends as soon as that is reached
    assert found.unmoved == ()
    assert str(found).startswith("can learn: loss ")
    found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_losses_are_those_of_a_loop_by_hand():
    optimizer = optim.sgd(0.1, momentum=0.9)
    objective, run = made(optimizer)
    found = overfit_one_batch(objective, optimizer, run, BATCH, steps=5, target=0.0)
    step = jax.jit(fn.training.make_train_step(objective, optimizer))
    expected = []
    for _ in range(6):
        run, metrics = step(run, BATCH)
        expected.append(float(metrics["loss"]))
    np.testing.assert_allclose(found.losses, expected, rtol=1e-6)


def test_a_learning_rate_of_nearly_nothing_does_not_learn():
    optimizer = optim.sgd(1e-7)
    objective, run = made(optimizer)
    found = overfit_one_batch(objective, optimizer, run, BATCH, steps=20)
    assert not found.can_learn
    assert len(found.losses) == 21
    assert "does not go down" in str(found)


def test_what_diverges_is_told():
    optimizer = optim.sgd(1e30)
    objective, run = made(optimizer, loss=F.mse_loss)
    batch = {"image": jnp.eye(4), "label": jnp.ones((4, 2))}
    found = overfit_one_batch(objective, optimizer, run, batch)
    assert found.diverged
    assert not found.can_learn
    assert len(found.losses) < 10
    assert "not finite" in str(found)


def test_parameters_that_get_no_gradient_are_named():
    class Cut(fn.Module):
        def __init__(self):
            self.trunk = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)

        def __call__(self, x):
            return self.head(jax.lax.stop_gradient(self.trunk(x)))

    optimizer = optim.adam(0.1)
    objective, run = made(optimizer, Cut())
    found = overfit_one_batch(objective, optimizer, run, BATCH)
    assert sorted(found.unmoved) == ["trunk.bias", "trunk.weight"]
    assert "2 parameters have not moved" in str(found)


def test_parameters_that_first_move_later_have_moved():
    optimizer = optim.accumulate(optim.sgd(1.0), 8)
    objective, run = made(optimizer)
    assert overfit_one_batch(objective, optimizer, run, BATCH, steps=12).unmoved == ()


def test_an_objective_without_a_metric_of_the_loss_will_do():
    def objective(params, state, batch, key, train):
        return ((params["weight"] - batch) ** 2).sum(), ({}, state)

    net, optimizer = fn.functionalize(nn.Linear(2, 2, bias=False)), optim.sgd(0.2)
    run = TrainState.create(net, optimizer, jax.random.key(0))
    assert overfit_one_batch(objective, optimizer, run, jnp.ones((2, 2))).can_learn


def test_a_loss_scale_is_passed_on():
    scale, optimizer = fn.training.dynamic_loss_scale(), optim.sgd(1.0)
    net = fn.functionalize(nn.Linear(4, 2))
    objective = fn.training.supervised(net, F.cross_entropy)
    run = TrainState.create(net, optimizer, jax.random.key(0), loss_scale=scale)
    assert overfit_one_batch(objective, optimizer, run, BATCH, loss_scale=scale).can_learn
    assert find_learning_rate(
        objective, optimizer, run, [BATCH], loss_scale=scale, high=10.0
    ).suggestion


def test_a_loss_below_zero_needs_a_target():
    def objective(params, state, batch, key, train):
        return -params["weight"].sum() - 100, ({}, state)

    optimizer = optim.sgd(0.1)
    _, run = made(optimizer)
    with pytest.raises(ValueError, match="pass target="):
        overfit_one_batch(objective, optimizer, run, BATCH)
    found = overfit_one_batch(objective, optimizer, run, BATCH, target=-110.0)
    assert found.can_learn


@pytest.mark.parametrize("trial", [overfit_one_batch, find_batch_size, find_learning_rate])
def test_a_trial_takes_a_run(trial):
    objective, run = made(optim.sgd(0.1))
    with pytest.raises(TypeError, match=r"TrainState\.create"):
        trial(objective, optim.sgd(0.1), run.params, BATCH)


# ---- learning rate -------------------------------------------------------------------------------


def quadratic(curvature):
    """An objective whose largest stable rate of plain descent is ``2 / curvature``."""

    def objective(params, state, batch, key, train):
        return 0.5 * curvature * (params["weight"] ** 2).sum() + 0 * batch.sum(), ({}, state)

    return objective


@pytest.mark.parametrize("curvature", [0.1, 100.0])
def test_the_suggestion_scales_with_the_problem(curvature, unchanged, tmp_path):
    optimizer = optim.sgd(0.1)
    _, run = made(optimizer)
    found = find_learning_rate(
        quadratic(curvature),
        optimizer,
        unchanged(run),
        [jnp.ones(1)],
        low=1e-6,
        high=1e3,
        steps=200,
    )
    assert 0.005 < found.suggestion * curvature < 2  # beyond 2 plain descent diverges
    assert np.all(np.diff(found.rates) > 0)
    assert len(found.rates) == len(found.losses) < 200
    assert f"learning rate {found.suggestion:.1e}" in str(found)
    found.plot(tmp_path / "rates.svg")


class _Plain:
    """An optimizer as other libraries make them: its state holds no rate."""

    def __init__(self, lr):
        self.lr = lr

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -self.lr * g, grads), state


def test_a_factory_gives_what_the_optimizer_itself_gives():
    optimizer = optim.sgd(0.1)
    _, run = made(optimizer)
    settings = {"low": 1e-4, "high": 10.0, "steps": 50}
    own, by_factory, of_others = (
        find_learning_rate(quadratic(1.0), each, run, [jnp.ones(1)], **settings)
        for each in (optimizer, optim.sgd, _Plain)
    )
    np.testing.assert_allclose(by_factory.losses, own.losses, rtol=1e-5)
    np.testing.assert_allclose(of_others.losses, own.losses, rtol=1e-5)
    assert own.suggestion == by_factory.suggestion == of_others.suggestion


def test_a_schedule_does_not_count():
    plain, scheduled = optim.sgd(0.1), optim.sgd(optim.schedules.warmup_cosine(0.1, 10, 100))
    found = []
    for optimizer in (plain, scheduled):
        _, run = made(optimizer)
        found.append(find_learning_rate(quadratic(1.0), optimizer, run, [jnp.ones(1)], high=10.0))
    np.testing.assert_allclose(found[0].losses, found[1].losses, rtol=1e-6)


def test_batches_are_taken_again_but_an_iterator_ends():
    optimizer = optim.sgd(0.1)
    _, run = made(optimizer)
    batches = [jnp.ones(1)] * 3
    assert len(find_learning_rate(quadratic(1e-3), optimizer, run, batches, steps=20).rates) == 20
    with pytest.raises(ValueError, match="batches ended after 3 of 20 steps"):
        find_learning_rate(quadratic(1e-3), optimizer, run, iter(batches), steps=20)
    with pytest.raises(ValueError, match="batches is empty"):
        find_learning_rate(quadratic(1e-3), optimizer, run, [], steps=20)


def test_a_loss_that_never_falls_has_no_suggestion():
    def objective(params, state, batch, key, train):
        return 1.0 + 0 * params["weight"].sum(), ({}, state)

    optimizer = optim.sgd(0.1)
    _, run = made(optimizer)
    found = find_learning_rate(objective, optimizer, run, [jnp.ones(1)], steps=20)
    assert found.suggestion is None
    assert "never fell" in str(found)
    found.plot()


@pytest.mark.parametrize(
    ("optimizer", "error", "words"),
    [
        (_Plain(0.1), TypeError, "no learning rate to set"),
        (3, TypeError, "expected an optimizer"),
        (lambda lr: lr, TypeError, "expected an optimizer"),
    ],
    ids=["no rate", "number", "function of something else"],
)
def test_optimizers_without_a_rate_teach(optimizer, error, words):
    _, run = made(_Plain(0.1))
    with pytest.raises(error, match=words):
        find_learning_rate(quadratic(1.0), optimizer, run, [jnp.ones(1)])


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 1, 20), (1, 0.1, 20), (0.1, 1, 3)])
def test_rates_that_make_no_sense_are_refused(low, high, steps):
    _, run = made(optim.sgd(0.1))
    with pytest.raises(ValueError, match=r"rates rise|at least"):
        find_learning_rate(
            quadratic(1.0), optim.sgd(0.1), run, [BATCH], low=low, high=high, steps=steps
        )


# ---- batch size ----------------------------------------------------------------------------------


def wide(rows=4, features=2048):
    batch = {"image": np.ones((rows, features), np.float32), "label": np.zeros(rows, np.int64)}
    optimizer = optim.sgd(0.1)
    return (*made(optimizer, nn.Linear(features, 2)), optimizer, batch)


@pytest.mark.parametrize(("limit", "multiple_of"), [(2**19, 6), (2**21, 1)])
def test_the_size_fits_and_an_eighth_more_does_not(limit, multiple_of, unchanged):
    objective, run, optimizer, batch = wide()
    found = find_batch_size(
        objective, optimizer, unchanged(run), batch, limit=limit, multiple_of=multiple_of
    )
    assert found.size % multiple_of == 0
    assert found.needed[found.size] <= limit
    # what the rows alone need: 8 KiB each
    assert 0.7 * limit < found.size * 2048 * 4 <= limit
    too_large = min(size for size, fits in found.fitting.items() if not fits)
    assert found.needed[too_large] > limit
    assert too_large - found.size <= max(multiple_of, found.size // 8)
    assert f"batch size {found.size}" in str(found)
    assert "does not fit" in str(found)


def test_few_compilations_are_needed():
    objective, run, optimizer, batch = wide()
    found = find_batch_size(objective, optimizer, run, batch, limit=2**24)
    assert len(found.fitting) <= 8  # of 2,040 rows; from 4 on by doubling alone it would be 12


def test_the_largest_is_the_end():
    objective, run, optimizer, batch = wide(features=8)
    found = find_batch_size(objective, optimizer, run, batch, limit=2**30, largest=100)
    assert found.size == 100


def test_nothing_may_fit():
    objective, run, optimizer, batch = wide()
    found = find_batch_size(objective, optimizer, run, batch, limit=1000)
    assert found.size == 0
    assert str(found).startswith("no batch size fits")


class Exhausted(RuntimeError):
    pass


def test_where_memory_ends_is_caught(monkeypatch):
    """By running: a step that fails as JAX does for more than 20 rows."""
    objective, run, optimizer, batch = wide(features=8)

    def failing(params, state, batch, key, train):
        def check(x):
            if len(x) > 20:
                raise Exhausted(
                    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes."
                )
            return x

        x = jax.pure_callback(
            check, jax.ShapeDtypeStruct(batch["image"].shape, jnp.float32), batch["image"]
        )
        return objective(params, state, {**batch, "image": x}, key, train)

    found = find_batch_size(failing, optimizer, run, batch, by="running", limit=2**40)
    assert 18 <= found.size <= 20


def test_microbatches_divide_what_is_tried():
    _, run, optimizer, batch = wide()
    net = fn.functionalize(nn.Linear(2048, 2))
    objective = fn.training.supervised(net, F.cross_entropy, microbatches=3)
    found = find_batch_size(objective, optimizer, run, batch, limit=2**20, multiple_of=2)
    assert found.size % 6 == 0 < found.size
    batch = {name: leaf[:3] for name, leaf in batch.items()}
    assert overfit_one_batch(objective, optimizer, run, batch).can_learn


def test_a_batch_without_a_number_of_rows_is_refused():
    objective, run, optimizer, batch = wide()
    for wrong in ({**batch, "label": np.zeros(3)}, {"image": 1.0}):
        with pytest.raises(ValueError, match="not known how a larger batch looks"):
            find_batch_size(objective, optimizer, run, wrong, limit=2**20)


def test_other_errors_are_not_taken_for_the_end_of_memory():
    _, run, optimizer, batch = wide()

    def broken(params, state, batch, key, train):
        raise KeyError("label")

    with pytest.raises(KeyError):
        find_batch_size(broken, optimizer, run, batch, limit=2**20)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices tell their memory")
def test_a_cpu_needs_a_limit():
    objective, run, optimizer, batch = wide()
    for by in (None, "analysis"):
        with pytest.raises(ValueError, match="pass limit="):
            find_batch_size(objective, optimizer, run, batch, by=by)
