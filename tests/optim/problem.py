"""One small problem, stepped by an optimizer of funcnet and by one of PyTorch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import funcnet
from funcnet import optim

SHAPES = {"weight": (4, 3), "bias": (3,), "scale": ()}


def make(steps, dtype=np.float64, shapes=None, seed=0):
    """Return start parameters, and noise that makes each step's gradient ``0.3 p + noise``."""
    rng = np.random.default_rng(seed)
    shapes = SHAPES if shapes is None else shapes

    def draw(*shape):
        x = rng.normal(size=shape)
        if np.issubdtype(dtype, np.complexfloating):
            x = x + 1j * rng.normal(size=shape)
        return np.asarray(x, dtype)

    params = {name: draw(*shape) for name, shape in shapes.items()}
    noise = {name: draw(steps, *shape) for name, shape in shapes.items()}
    return params, noise


def run(optimizer, params, noise, **extra):
    """Take all steps in one compiled scan; return each step's parameters and the last state."""

    def step(carry, noise_now):
        params, state = carry
        grads = jax.tree.map(lambda p, n: 0.3 * p + n, params, noise_now)
        updates, state = optimizer.update(grads, state, params, **extra)
        params = optim.apply_updates(params, updates)
        return (params, state), params

    @jax.jit
    def everything(params, noise):
        (_, state), path = jax.lax.scan(step, (params, optimizer.init(params)), noise)
        return path, state

    path, state = everything(jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, noise))
    return jax.tree.map(np.asarray, path), state


def run_torch(factory, params, noise, scheduler=None):
    """Do the same with PyTorch; ``scheduler`` makes a scheduler of the optimizer."""
    import torch

    default = torch.get_default_dtype()
    # PyTorch keeps an optimizer's scalars (NAdam's product, ASGD's step size) in its default dtype.
    torch.set_default_dtype(torch.tensor(next(iter(params.values()))).abs().dtype)
    try:
        return _steps_of_torch(torch, factory, params, noise, scheduler)
    finally:
        torch.set_default_dtype(default)


def _steps_of_torch(torch, factory, params, noise, scheduler):
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    optimizer = factory(list(tensors.values()))
    schedule = scheduler(optimizer) if scheduler else None
    path = {name: [] for name in params}
    for k in range(len(next(iter(noise.values())))):
        for name, tensor in tensors.items():
            tensor.grad = 0.3 * tensor.detach() + torch.tensor(noise[name][k])
        optimizer.step()
        if schedule:
            schedule.step()
        for name, tensor in tensors.items():
            path[name].append(tensor.detach().numpy().copy())
    return {name: np.stack(values) for name, values in path.items()}


def assert_same(ours, theirs, rtol=1e-10):
    """Compare trajectories; the tolerance is relative to the largest parameter of the leaf."""
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-3)
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=rtol * scale, err_msg=name)


def digits(count):
    """Return some of the embedded handwritten digits: images as rows in [0, 1], and labels."""
    sample = Path(funcnet.__file__).parent / "data" / "samples" / "mnist_sample.npz"
    with np.load(sample) as file:
        images, labels = file["train_images"][:count], file["train_labels"][:count]
    rows = images.reshape(count, -1).astype(np.float32) / 255
    return jnp.asarray(rows), jnp.asarray(labels.astype(np.int32))
