"""Sums of 16-bit floats: values and gradients of maps, convolutions, tables, attention, pooling and resizing.

The same rounded numbers are computed in float64 by PyTorch, and in 16 bits by PyTorch and by us: our error is at
most four times PyTorch's, or one unit in the last place of the largest number, whichever is larger.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

TIMES_PYTORCH = 4
UNIT = {"bfloat16": 2.0**-8, "float16": 2.0**-11}

IMAGES, MANY = (32, 3, 12, 12), np.random.default_rng(1).integers(0, 3, (40, 50))

CASES = {
    "linear": (lambda f, *a: f.linear(*a), [(2048, 16), (4, 16), (4,)]),
    "bilinear": (lambda f, *a: f.bilinear(*a), [(512, 5), (512, 6), (4, 5, 6), (4,)]),
    "conv1d": (lambda f, *a: f.conv1d(*a, padding=1), [(64, 3, 50), (4, 3, 3), (4,)]),
    "conv2d": (lambda f, *a: f.conv2d(*a, padding=1), [IMAGES, (4, 3, 3, 3), (4,)]),
    "conv2d depthwise": (
        lambda f, *a: f.conv2d(*a, padding=1, groups=3),
        [IMAGES, (3, 1, 3, 3), (3,)],
    ),
    "conv_transpose2d": (lambda f, *a: f.conv_transpose2d(*a), [IMAGES, (3, 4, 3, 3), (4,)]),
    "conv_transpose2d by phases": (
        lambda f, *a: f.conv_transpose2d(*a, stride=2),
        [IMAGES, (3, 4, 3, 3), (4,)],
    ),
    "embedding": (lambda f, w: f.embedding(indices(f, MANY), w), [(3, 4)]),
    "embedding by frequency": (
        lambda f, w: f.embedding(indices(f, MANY), w, scale_grad_by_freq=True),
        [(3, 4)],
    ),
    "embedding_bag of offsets": (
        lambda f, w: f.embedding_bag(
            indices(f, MANY.ravel()), w, indices(f, np.array([0, 1000, 1001])), mode="mean"
        ),
        [(3, 4)],
    ),
    "embedding_bag weighted": (
        lambda f, w, p: f.embedding_bag(indices(f, MANY), w, mode="sum", per_sample_weights=p),
        [(3, 4), (40, 50)],
    ),
    "attention": (
        lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v + 30),
        [(2, 4, 32, 8), (2, 4, 48, 8), (2, 4, 48, 8)],
    ),
    "avg_pool2d": (lambda f, x: f.avg_pool2d(x, 5, 1), [IMAGES]),
    "max_pool2d": (lambda f, x: f.max_pool2d(x, 15, 1), [(4, 2, 30, 30)]),
    "lp_pool2d": (lambda f, x: f.lp_pool2d(abs(x) + 0.1, 3.0, 5, 1), [IMAGES]),
    "interpolate nearest": (lambda f, x: f.interpolate(x, scale_factor=32.0), [(2, 2, 3, 3)]),
    "interpolate bicubic": (
        lambda f, x: f.interpolate(x, scale_factor=16.0, mode="bicubic"),
        [(2, 2, 3, 3)],
    ),
    "unfold": (lambda f, x: f.unfold(x, 9, padding=4), [(2, 2, 12, 12)]),
    "fold": (lambda f, x: f.fold(x, (12, 12), 9, padding=4), [(2, 162, 144)]),
    "pad by repeating": (lambda f, x: f.pad(x, (600, 3), mode="replicate"), [(2, 2, 8)]),
    "grid_sample": (
        lambda f, x, g: f.grid_sample(x, g, align_corners=False),
        [(2, 2, 16, 16), (2, 20, 20, 2)],
    ),
}


def indices(functions, array):
    if functions is F:
        return jnp.asarray(array)
    return pytest.importorskip("torch").from_numpy(array)


def error(computed, exact):
    scale = np.abs(exact).max() or 1.0
    return np.abs(np.asarray(computed, np.float64) - exact).max() / scale


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_pytorch(name, dtype, rng, x64):
    torch = pytest.importorskip("torch")
    function, shapes = CASES[name]
    narrow = getattr(torch, dtype)
    small = [torch.from_numpy(rng.standard_normal(shape)).to(narrow) for shape in shapes]

    def theirs(of):
        inputs = [x.to(of).requires_grad_() for x in small]
        output = function(torch.nn.functional, *inputs)
        grads = torch.autograd.grad(output, inputs, torch.ones_like(output))
        return [x.detach().double().numpy() for x in (output, *grads)]

    def ours(*inputs):
        output, pull = jax.vjp(lambda *a: function(F, *a), *inputs)
        return output, *pull(jnp.ones_like(output))

    exact = theirs(torch.float64)
    found = jax.jit(ours)(*(jnp.asarray(x.double().numpy(), dtype) for x in small))
    assert {str(x.dtype) for x in found} == {dtype}
    for number, (own, other, right) in enumerate(zip(found, theirs(narrow), exact, strict=True)):
        most = max(TIMES_PYTORCH * error(other, right), UNIT[dtype])
        assert error(own, right) <= most, f"{'output' if number == 0 else f'gradient {number - 1}'}"


CONSTANT = {
    "bias of conv2d": lambda b: F.conv2d(ones(64, 3, 16, 16), ones(1, 3, 3, 3), b, padding=1),
    "bias of depthwise conv2d": lambda b: F.conv2d(
        ones(64, 3, 16, 16), ones(3, 1, 3, 3), jnp.broadcast_to(b, 3), groups=3
    )[:, :1],
    "bias of conv_transpose2d": lambda b: F.conv_transpose2d(
        ones(64, 3, 16, 16), ones(3, 1, 2, 2), b
    ),
    "bias of linear": lambda b: F.linear(ones(4096, 3), ones(1, 3), b),
    "bias of bilinear": lambda b: F.bilinear(ones(4096, 3), ones(4096, 3), ones(1, 3, 3), b),
    "table of embedding": lambda b: F.embedding(jnp.zeros(4096, jnp.int32), b[:, None]),
    "table of embedding_bag": lambda b: F.embedding_bag(
        jnp.zeros((8, 1024), jnp.int32), b[:, None], mode="mean"
    ),
}


def ones(*shape):
    return jnp.ones(shape, jnp.bfloat16)


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize("jitted", [False, True])
def test_the_gradient_of_a_mean_is_one(name, jitted):
    """A sum of ones in bfloat16 stops at 256."""
    grad = jax.grad(lambda b: CONSTANT[name](b).astype(jnp.float32).mean())
    assert float((jax.jit(grad) if jitted else grad)(ones(1))[0]) == 1.0


def test_a_mean_of_a_thousand_rows_is_their_value():
    table = jnp.full((1, 1), 0.1, jnp.bfloat16)
    mean = F.embedding_bag(jnp.zeros(1000, jnp.int32), table, jnp.array([0]), mode="mean")
    assert mean[0, 0] == table[0, 0]
