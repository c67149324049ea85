"""Mixed precision around and inside of wrappers: stacks, loops, ensembles, adapted and shared layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(32, 8)), jnp.float32)


def mlp():
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 8))


def normed():
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh())


class Cell(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(16, 8)

    def __call__(self, carry, x):
        new = jnp.tanh(self.layer(jnp.concatenate([carry, x], -1)))
        return new, new


class Lazy(nn.Module):
    def __init__(self):
        self.first, self.norm = nn.LazyLinear(8), nn.LazyBatchNorm1d()

    def __call__(self, x):
        return self.norm(self.first(x))


class Complex(nn.Module):
    def __init__(self):
        self.turn = fn.Parameter((8, 8), nn.init.normal(), dtype=jnp.complex64)
        self.layer = nn.Linear(8, 8)

    def __call__(self, x):
        turned = self.layer(x).astype(jnp.complex64) @ self.turn
        return jnp.real(turned), jnp.imag(turned)


class Quantized(nn.Module):
    """A weight in 8 bits, and its scale in 32."""

    def __init__(self):
        self.steps = fn.Buffer((8, 8), nn.init.constant(3), dtype=jnp.int8)
        self.scale = fn.Buffer((), nn.init.constant(0.1))
        self.layer = nn.Linear(8, 8)

    def __call__(self, x):
        x = self.layer(x)
        return x @ (self.steps.astype(x.dtype) * self.scale.astype(x.dtype))


class Narrower(nn.Module):
    """A parameter of 8 bits, which has fewer than are asked for."""

    def __init__(self):
        self.steps = fn.Parameter((8, 8), nn.init.ones(), dtype=jnp.float8_e4m3fn)
        self.layer = nn.Linear(8, 8)

    def __call__(self, x):
        x = self.layer(x)
        return x @ self.steps.astype(x.dtype)


class Vocabulary(nn.Module):
    def __init__(self):
        self.layer, self.loss = nn.Linear(8, 8), nn.LinearCrossEntropyLoss(8, 20)

    def __call__(self, x):
        return self.loss(self.layer(x), jnp.arange(32) % 20)


class Attends(nn.Module):
    def __init__(self, implementation):
        self.attention = nn.MultiheadAttention(8, 2, implementation=implementation)

    def __call__(self, x):
        x = x[:, None]
        return self.attention(x, x, x, need_weights=False)[0]


TIED = nn.Linear(8, 8)
CASES = {
    "repeat": (lambda: nn.Repeat(mlp(), 3), (X,)),
    "repeat of norms and dropout": (lambda: nn.Repeat(normed(), 3), (X,)),
    "scan": (lambda: nn.Scan(Cell()), (X[0], X)),
    "vmap": (lambda: nn.Vmap(mlp(), 3), (jnp.stack([X, X + 1, X - 1]),)),
    "remat": (lambda: nn.Sequential(nn.Remat(mlp()), nn.Linear(8, 3)), (X,)),
    "experts": (lambda: nn.MixtureOfExperts(nn.Linear(8, 8), 8, 4), (X[None],)),
    "weight norm": (lambda: nn.weight_norm(nn.Linear(8, 8)), (X,)),
    "spectral norm": (lambda: nn.spectral_norm(nn.Linear(8, 8)), (X,)),
    "lora": (lambda: nn.lora(mlp(), "*", rank=2, dropout=0.5), (X,)),
    "lazy": (Lazy, (X,)),
    "complex": (Complex, (X,)),
    "quantized": (Quantized, (X,)),
    "float8": (Narrower, (X,)),
    "tied": (lambda: nn.Sequential(TIED, nn.Tanh(), TIED), (X,)),
    "vocabulary": (Vocabulary, (X,)),
    "plain attention": (lambda: Attends("plain"), (X,)),
    "chunked attention": (lambda: Attends("chunked"), (X,)),
    "lstm": (lambda: nn.LSTM(8, 8, 2, bidirectional=True, dropout=0.3), (X[:, None],)),
}


def _dtypes(tree):
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


def _vector(tree):
    leaves = [
        np.ravel(leaf) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return np.concatenate([leaf.astype(np.complex128) for leaf in leaves] or [np.zeros(0)])


def _off(ours, right):
    ours, right = _vector(ours), _vector(right)
    return np.linalg.norm(ours - right) / max(np.linalg.norm(right), 1e-30)


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_wrapped_layers(name, compute, pytestconfig):
    if pytestconfig.getoption("grid") != "full" and (len(name) % 2) == (compute == "float16"):
        pytest.skip("one of both dtypes")
    build, args = CASES[name]
    net = fn.functionalize(build())
    net16 = fn.mixed_precision(net, compute)
    params, state = net16.init(KEY, *args)

    def graded(net):
        def loss(params):
            output, left = net.apply(params, state, *args, key=KEY, train=True)
            floats = [x for x in jax.tree.leaves(output) if jnp.issubdtype(x.dtype, jnp.floating)]
            total = sum(
                jnp.sum(jnp.sin(x + jnp.cos(jnp.arange(x.size).reshape(x.shape)))) for x in floats
            )
            return total, (output, left)

        return jax.jit(jax.grad(loss, has_aux=True))

    (grads, (output, left)), (right, (wide, after)) = (graded(one)(params) for one in (net16, net))
    assert _dtypes((grads, output, left)) == _dtypes((right, wide, after))
    # a dozen roundings of 2^-9 each, and in the gradient those of both directions
    assert _off(output, wide) < 0.02
    assert _off(left, after) < 0.01
    assert _off(grads, right) < 0.05


@pytest.mark.parametrize(
    "layer", [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU]
)
def test_what_is_drawn_is_the_same(layer):
    net = fn.functionalize(layer())
    x = jnp.full((4, 8, 5), -1.0)
    wide, narrow = (
        one.apply({}, {}, x, key=KEY, train=True)[0] for one in (net, fn.mixed_precision(net))
    )
    assert len(np.unique(wide)) > 1
    np.testing.assert_allclose(narrow, wide, rtol=2**-8)


@pytest.mark.parametrize("how", ["scan", "in user code", "vmap"])
def test_gradients_of_what_steps_share_are_summed_in_32_bits(how):
    """In 16 bits a sum of ones would stop growing at 256, and a mean of 4,096 be a sixteenth."""

    class Step(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 3)

        def __call__(self, carry, x):
            return carry, self.layer(x)

    class ByHand(nn.Module):
        def __init__(self):
            self.step = Step()

        def __call__(self, carry, xs):
            step, (params, state) = fn.functionalize(self.step), fn.unbind(self.step)
            body = lambda carry, x: step.apply(params, state, carry, x)[0]
            return jax.lax.scan(body, carry, xs)

    module = {"scan": lambda: nn.Scan(Step()), "in user code": ByHand, "vmap": Step}[how]()
    net = fn.mixed_precision(fn.functionalize(module))
    params, state = net.init(KEY)
    carry, xs = jnp.zeros(()), jnp.ones((4096, 3))

    def mean(params):
        if how == "vmap":
            return jax.vmap(lambda x: net.apply(params, state, carry, x)[0][1])(xs).mean(0).sum()
        return net.apply(params, state, carry, xs)[0][1].mean(0).sum()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(mean))(params)):
        np.testing.assert_allclose(leaf, 1.0, rtol=2**-7)


def test_unbind_within_a_model_gives_the_parameters_themselves():
    class Looks(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(8, 8)

        def __call__(self, x):
            seen.append(fn.unbind(self.layer)[0]["weight"])
            return self.layer(x)

    seen = []
    net = fn.mixed_precision(fn.functionalize(Looks()))
    params, state = net.init(KEY)
    net.apply(params, state, X)
    assert seen[0] is params["layer"]["weight"]


def test_a_user_s_own_ensemble():
    net = fn.mixed_precision(fn.functionalize(mlp()))
    several, _ = jax.vmap(net.init)(jax.random.split(KEY, 3))
    outputs = jax.jit(jax.vmap(lambda params: net.apply(params, {}, X)[0]))(several)
    for number, output in enumerate(outputs):
        alone = net.apply(jax.tree.map(lambda x: x[number], several), {}, X)[0]
        np.testing.assert_allclose(output, alone, atol=2e-2)


def test_lora_trains_in_32_bits():
    net = fn.mixed_precision(fn.functionalize(nn.lora(mlp(), "*", rank=2)))
    params, state = net.init(KEY)
    trained, frozen = fn.partition(params, "*lora_*")
    loss = lambda trained: net.apply(fn.merge(trained, frozen), state, X)[0].sum()
    grads = jax.jit(jax.grad(loss))(trained)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}
    assert any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(grads))
