"""Optax beside funcnet: the page runs with it, and what it calls equal is equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from docs.generation.assemble import DOCS
from funcnet import optim
from tests.docs.coming_from.pages_with_others import run


@pytest.fixture
def optax():
    """Optax relies on implicit promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("optax")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page(optax):
    run((DOCS / "coming_from/optax.md").read_text())


EQUAL = {
    "sgd": lambda o: (optim.sgd(0.1), o.sgd(0.1)),
    "momentum": lambda o: (optim.sgd(0.1, momentum=0.9), o.sgd(0.1, momentum=0.9)),
    "nesterov": lambda o: (
        optim.sgd(0.1, momentum=0.9, nesterov=True),
        o.sgd(0.1, momentum=0.9, nesterov=True),
    ),
    "adam": lambda o: (optim.adam(0.1), o.adam(0.1)),
    "adamw": lambda o: (optim.adamw(0.1, weight_decay=1e-4), o.adamw(0.1)),
    "adamax": lambda o: (optim.adamax(0.1), o.adamax(0.1)),
    "radam": lambda o: (optim.radam(0.1), o.radam(0.1)),
    "adagrad": lambda o: (
        optim.adagrad(0.1, initial_accumulator_value=0.1, eps=1e-7),
        o.adagrad(0.1),
    ),
    "adadelta": lambda o: (optim.adadelta(0.1), o.adadelta(0.1)),
    "rmsprop": lambda o: (optim.rmsprop(0.1, alpha=0.9), o.rmsprop(0.1, eps_in_sqrt=False)),
    "rmsprop centered": lambda o: (
        optim.rmsprop(0.1, alpha=0.9, centered=True, momentum=0.9),
        o.rmsprop(0.1, eps_in_sqrt=False, centered=True, momentum=0.9),
    ),
    "lion": lambda o: (optim.lion(0.1, weight_decay=1e-3), o.lion(0.1)),
    "lamb": lambda o: (optim.lamb(0.1, weight_decay=0.1), o.lamb(0.1, weight_decay=0.1)),
    "lars": lambda o: (optim.lars(0.1, weight_decay=0.1), o.lars(0.1, weight_decay=0.1)),
    "novograd": lambda o: (optim.novograd(0.1, betas=(0.9, 0.25), eps=1e-6), o.novograd(0.1)),
    "sm3": lambda o: (optim.sm3(0.1), o.sm3(0.1)),
    "yogi": lambda o: (optim.yogi(0.1), o.yogi(0.1)),
    "schedule_free_adamw": lambda o: (
        optim.schedule_free_adamw(0.1),
        o.contrib.schedule_free_adamw(0.1),
    ),
    "centralize": lambda o: (optim.centralize(), o.centralize()),
    "clip": lambda o: (
        optim.chain(optim.clip_by_global_norm(1.0, eps=0.0), optim.sgd(0.1)),
        o.chain(o.clip_by_global_norm(1.0), o.sgd(0.1)),
    ),
    "accumulate": lambda o: (optim.accumulate(optim.adam(0.1), 2), o.MultiSteps(o.adam(0.1), 2)),
}
"""What the page calls equal, with the settings that it says."""


@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.filterwarnings("ignore")
def test_ten_steps_end_at_the_same_parameters(name, optax):
    ends = []
    for optimizer in EQUAL[name](optax):
        params = {
            "w": jnp.array([[2.0, -1.0, 0.3], [0.5, 3.0, -2.0]]),
            "b": jnp.array([1.0, -0.2]),
        }
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for i in range(10):
            grads = jax.tree.map(lambda x: jnp.sin(3 * x + i) + x, params)
            if name == "centralize":
                grads = jax.tree.map(lambda x: x / 10, grads)
            updates, state = update(grads, state, params)
            params = optim.apply_updates(params, updates)
        ends.append(params)
    for ours, theirs in zip(*map(jax.tree.leaves, ends), strict=True):
        # bias corrections and norms round differently, and steps of 0.1 carry that on; a wrong term shows at 1e-2
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", ["amsgrad", "nadam", "adan", "rprop"])
@pytest.mark.filterwarnings("ignore")
def test_what_the_page_calls_unequal_is(name, optax):
    """Once it is not, the page should say so."""
    ours = optim.adam(0.1, amsgrad=True) if name == "amsgrad" else getattr(optim, name)(0.1)
    params, ends = {"w": jnp.array([1.0, 2.0, -3.0])}, []
    for optimizer in (ours, getattr(optax, name)(0.1)):
        state, updates = optimizer.init(params), []
        for scale in (1.0, 0.5, -0.7):
            grads = jax.tree.map(lambda x: scale * x, params)
            update, state = optimizer.update(grads, state, params)
            updates.append(update["w"])
        ends.append(np.stack(updates))
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
