"""Gradient penalties against PyTorch's double backward, and against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import MissingKeyError

KEY = jax.random.key(0)
REAL, FAKE = jax.random.normal(jax.random.key(1), (2, 6, 3))
NET = fn.functionalize(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)))
PARAMS, STATE = NET.init(KEY)
KINDS = {
    "WGAN-GP": {"fake": FAKE, "key": KEY},
    "zero-centred": {"fake": FAKE, "key": KEY, "center": 0},
    "R1": {"center": 0},
    "one-sided": {"center": 0.3, "one_sided": True},
}


def critic(params, scores="(N, 1)"):
    def of_batch(x):
        made = NET.apply(params, STATE, x)[0]
        return made if scores == "(N, 1)" else made[:, 0]

    return of_batch


def in_pytorch(torch, kind, reduction):
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    module.load_state_dict(
        {
            k: torch.tensor(np.asarray(v))
            for k, v in fn.state_dict(NET.module, PARAMS, STATE).items()
        }
    )
    options = KINDS[kind]
    x = np.asarray(REAL)
    if "fake" in options:
        share = np.asarray(jax.random.uniform(KEY, (6,), jnp.float32))[:, None]
        x = share * x + (1 - share) * np.asarray(FAKE)
    x = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    excess = slope.norm(dim=1) - options.get("center", 1.0)
    each = excess.clamp(min=0) ** 2 if options.get("one_sided") else excess**2
    value = each.mean() if reduction == "mean" else each.sum()
    value.backward()
    grads = {name: each.grad for name, each in module.named_parameters()}
    return value.detach(), grads


@pytest.mark.parametrize(
    ("kind", "reduction"),
    [("WGAN-GP", "mean"), ("zero-centred", "sum"), ("R1", "mean"), ("one-sided", "sum")],
)
def test_it_is_pytorchs(kind, reduction):
    torch = pytest.importorskip("torch")

    def loss(params):
        return fn.gradient_penalty(critic(params), REAL, **KINDS[kind], reduction=reduction)

    value, grads = jax.jit(jax.value_and_grad(loss))(PARAMS)
    expected, slopes = in_pytorch(torch, kind, reduction)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for name, slope in slopes.items():
        layer, array = name.split(".")
        found = np.asarray(grads[layer][array])
        slope = np.zeros_like(found) if slope is None else slope.numpy()
        np.testing.assert_allclose(found, slope, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "scores"), [("WGAN-GP", "(N,)"), ("R1", "(N, 1)"), ("one-sided", "(N,)")]
)
def test_each_example_has_its_own(kind, scores):
    each = fn.gradient_penalty(critic(PARAMS, scores), REAL, **KINDS[kind], reduction="none")
    assert each.shape == (6,)
    np.testing.assert_allclose(
        each.mean(), fn.gradient_penalty(critic(PARAMS), REAL, **KINDS[kind]), rtol=1e-5
    )


def test_trees_share_one_norm_and_one_place():
    def linear(batch):
        return 3.0 * batch["a"].sum((1, 2)) + 4.0 * batch["b"][:, 0]

    real = {"a": jnp.ones((5, 1, 1)), "b": jnp.ones((5, 2)), "label": jnp.arange(5)}
    fake = jax.tree.map(jnp.zeros_like, real)
    each = fn.gradient_penalty(linear, real, fake, key=KEY, center=0, reduction="none")
    np.testing.assert_allclose(each, 25.0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_a_flat_critic_has_finite_slopes(dtype):
    def loss(scale):
        return fn.gradient_penalty(lambda x: (scale * x).sum(1), REAL.astype(dtype))

    value, slope = jax.value_and_grad(loss)(jnp.zeros((), dtype))
    assert (float(value), float(slope)) == (1.0, 0.0)


REFUSED = {
    "scores": (
        lambda: fn.gradient_penalty(lambda x: x.sum(), REAL),
        ValueError,
        r"\(6,\) or \(6, 1\)",
    ),
    "key": (
        lambda: fn.gradient_penalty(critic(PARAMS), REAL, FAKE),
        MissingKeyError,
        "gradient_penalty",
    ),
    "shapes": (
        lambda: fn.gradient_penalty(critic(PARAMS), REAL, FAKE[:3], key=KEY),
        ValueError,
        r"\(6, 3\) and fake has \(3, 3\)",
    ),
    "integers": (
        lambda: fn.gradient_penalty(critic(PARAMS), jnp.arange(3)),
        TypeError,
        "batch of floats",
    ),
    "center": (lambda: fn.gradient_penalty(critic(PARAMS), REAL, center=-1), ValueError, "center"),
}


@pytest.mark.parametrize(("call", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
