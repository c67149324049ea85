"""Twenty steps of training a divided model equal those of the whole one, and so does its file."""

import jax
import numpy as np
import pytest

from funcnet import checkpoint, optim
from tests.parallel.pipeline.models import (
    MLPBlock,
    initialized,
    make_batch,
    pipelined,
)
from tests.parallel.pipeline.test_gradients import assert_close, value_and_grad


def train(net, schedule, params, batches):
    """Train with AdamW and clipping; return the losses and the params."""
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(3e-3))
    both = value_and_grad(schedule, net, lambda count: count)

    @jax.jit
    def step(params, opt_state, batch):
        (value, _), grads = both(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, value

    opt_state, losses = optimizer.init(params), []
    for batch in batches:
        params, opt_state, value = step(params, opt_state, batch)
        losses.append(float(value))
    assert step._cache_size() <= 2  # the first step's params lie elsewhere
    return losses, params


@pytest.fixture(scope="module")
def whole():
    net, params = initialized(MLPBlock())
    rng = np.random.default_rng(3)
    batches = [make_batch(rng, 8) for _ in range(20)]
    return net, params, batches, train(net, "gpipe", params, batches)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_twenty_steps(whole, schedule, tmp_path):
    net, params, batches, (losses, trained) = whole
    divided = pipelined(net, {"data": 2, "stage": 2}, 4, batched=("mask",))
    found, found_params = train(divided, schedule, params, batches)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert_close(found_params, trained)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).mean()), trained, params)
    assert min(jax.tree.leaves(moved)) > 1e-3
    checkpoint.save_weights(tmp_path / "model.safetensors", divided.module, found_params, {})
    again, _ = checkpoint.load_weights(tmp_path / "model.safetensors", net.module)
    jax.tree.map(np.testing.assert_array_equal, again, jax.device_get(found_params))
