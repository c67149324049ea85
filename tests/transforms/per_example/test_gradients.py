"""Per-example gradients and their norms, clipped sums, private gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet import transforms as T

# The derivative of tanh is 1 - tanh², so that a saturated unit loses what its value has more digits than its
# slope: in float32 the gradients of "mlp" are right to 8e-7 only, and how much of it shows is up to the order in
# which a release of XLA adds. So they are compared in 64 bits, where the same loss leaves ten digits.
IN_64_BITS = pytest.mark.usefixtures("x64")
FLOAT64 = 1e-10


def batch():
    return jnp.sin(jnp.arange(40.0)).reshape(5, 8), jnp.arange(5) % 3


def mlp_loss(params, x, y):
    h = jnp.tanh(jax.jit(lambda w, x: x @ w.T)(params["w1"], x) + params["b1"])
    logits = jax.checkpoint(lambda w, h: w @ h)(params["w2"], h)
    return -jax.nn.log_softmax(logits)[y] + params["n"].astype(x.dtype) * 0


def mlp_params():
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "w1": jax.random.normal(keys[0], (6, 8)),
        "b1": jax.random.normal(keys[1], (6,)),
        "w2": jax.random.normal(keys[2], (3, 6)),
        "n": jnp.array(3),
    }


def tied_loss(params, x, y):
    h = params["w"] @ x
    return jnp.sum(jnp.tanh(params["w"].T @ h) ** 2) + y.astype(x.dtype) * params["s"]


def sequence_loss(params, x, y):
    tokens = jnp.stack([x, x * 2, jnp.cos(x)])
    h = jnp.einsum("ti,oi->to", tokens, params["w"])
    h = jnp.einsum("kl,lj->kj", params["mix"], h)
    h = jnp.einsum("to,oqr->tqr", h, params["deep"])
    return jnp.sum(jnp.sin(h)) + 0.0 * y.astype(x.dtype)


def scanned_loss(params, x, y):
    step = lambda h, w: (jnp.tanh(w @ h), None)
    h, _ = jax.lax.scan(step, x, params["stack"])
    return jnp.sum(h**2) * (1.0 + y.astype(x.dtype))


def normal(*shape):
    return jax.random.normal(jax.random.key(len(shape)), shape) / 2


CASES = {
    "mlp": (mlp_loss, mlp_params),
    "tied": (tied_loss, lambda: {"w": normal(4, 8), "s": jnp.ones(())}),
    "sequence": (
        sequence_loss,
        lambda: {"w": normal(4, 8), "mix": normal(2, 3), "deep": normal(4, 2, 2)},
    ),
    "scanned": (scanned_loss, lambda: {"stack": normal(3, 8, 8)}),
}


def case(name):
    loss, make_params = CASES[name]
    return loss, make_params(), batch()


def one_by_one(loss, params, batch):
    """Return JAX's gradient of each example, and their norms, an example at a time."""
    gradient = jax.jit(jax.grad(loss, allow_int=True))
    each = [gradient(params, x, y) for x, y in zip(*batch, strict=True)]
    grads = jax.tree.map(lambda *rows: np.stack(rows), *each)
    leaves = [g for g in jax.tree.leaves(grads) if g.dtype != jax.dtypes.float0]
    return np.sqrt(sum((g.reshape(len(each), -1) ** 2).sum(1) for g in leaves)), grads


@IN_64_BITS
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", CASES)
def test_norms_are_those_of_the_gradients(name, chunk_size):
    loss, params, examples = case(name)
    found = jax.jit(T.per_example_norms(loss, chunk_size=chunk_size))(params, *examples)
    np.testing.assert_allclose(found, one_by_one(loss, params, examples)[0], rtol=FLOAT64)


@IN_64_BITS
@pytest.mark.parametrize("positions", [1, 9])
def test_norms_of_a_real_weight_among_complex_numbers(positions):
    w = jax.random.normal(jax.random.key(4), (2, 3))
    xs = jax.random.normal(jax.random.key(5), (4, positions, 3), complex)
    scale = jax.random.normal(jax.random.key(6), (4, 2), complex)
    loss = lambda w, x, c: jnp.real(jnp.sum((x @ w.T.astype(complex)) ** 2 * c))
    norms = T.per_example_norms(loss)(w, xs, scale)
    grads = jax.vmap(jax.grad(loss), (None, 0, 0))(w, xs, scale)
    np.testing.assert_allclose(norms, jnp.sqrt((grads**2).sum((1, 2))), rtol=FLOAT64)


@IN_64_BITS
@pytest.mark.parametrize("positions", [2, 9])
def test_norms_of_complex_gradients(positions):
    real, imaginary = jax.random.normal(jax.random.key(3), (2, 4, positions, 2))
    w = jax.random.normal(jax.random.key(4), (2, 3), complex)
    loss = lambda w, x: (jnp.abs(x @ w) ** 2).sum()
    xs = jax.lax.complex(real, imaginary)
    found, grads = jax.jit(
        lambda w: (T.per_example_norms(loss)(w, xs), T.per_example_grad(loss)(w, xs))
    )(w)
    np.testing.assert_allclose(found, np.linalg.norm(np.asarray(grads), axis=(1, 2)), rtol=FLOAT64)


def test_no_gradient_of_a_linear_layer_is_formed():
    loss, params, examples = case("mlp")
    jaxpr = str(jax.make_jaxpr(T.per_example_norms(loss))(params, *examples))
    assert "f32[5,6,8]" not in jaxpr
    assert "f32[5,8,6]" not in jaxpr
    formed = str(jax.make_jaxpr(T.per_example_grad(loss))(params, *examples))
    assert "f32[5,6,8]" in formed or "f32[5,8,6]" in formed


@IN_64_BITS
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_per_example_gradients(chunk_size):
    loss, params, examples = case("mlp")
    found = jax.jit(T.per_example_grad(loss, chunk_size=chunk_size))(params, *examples)
    _, expected = one_by_one(loss, params, examples)
    assert found["n"].shape == (5,)
    for name in ("w1", "b1", "w2"):
        np.testing.assert_allclose(found[name], expected[name], rtol=FLOAT64, atol=1e-12)


def test_shared_arguments_and_aux():
    loss = lambda w, x, scale: (jnp.vdot(w, x) * scale, x.sum())
    gradients, aux = T.per_example_grad(loss, in_axes=(0, None), has_aux=True)(
        jnp.ones(2), jnp.ones((3, 2)), 2.0
    )
    np.testing.assert_array_equal(gradients, np.full((3, 2), 2.0))
    np.testing.assert_array_equal(aux, np.full(3, 2.0))


@IN_64_BITS
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", ["mlp", "tied"])
def test_clipped_sums(name, chunk_size):
    loss, params, examples = case(name)
    norms, grads = one_by_one(loss, params, examples)
    limit = float(np.median(norms))
    total, found = jax.jit(T.clipped_grad(loss, limit, chunk_size=chunk_size))(params, *examples)
    np.testing.assert_allclose(found, norms, rtol=FLOAT64)
    scales = np.minimum(1, limit / np.asarray(norms))
    for leaf in set(params) - {"n"}:
        expected = np.einsum("n...,n->...", grads[leaf], scales)
        np.testing.assert_allclose(total[leaf], expected, rtol=FLOAT64, atol=1e-12)


def test_private_gradient_adds_noise_of_the_right_size():
    loss = lambda w, x: jnp.vdot(w, x)
    private = jax.jit(T.private_grad(loss, 2.0, noise_multiplier=1.5))
    w, xs = jnp.zeros(20_000), jnp.zeros((4, 20_000))
    noise, norms = private(jax.random.key(0), w, xs)
    # the standard error of a standard deviation from 20,000 draws is half a percent: four of them
    np.testing.assert_allclose(noise.std(), 1.5 * 2.0 / 4, rtol=0.02)
    assert not np.any(norms)
    other, _ = private(jax.random.key(1), w, xs)
    assert not np.array_equal(noise, other)
    with pytest.raises(TypeError, match="a random key first, for its noise"):
        private(w, xs)


def test_a_funcnet_model():
    net = fn.functionalize(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)))
    params, state = net.init(jax.random.key(0))

    def loss(params, x, y):
        return -jax.nn.log_softmax(net.apply(params, state, x)[0])[y]

    examples = batch()
    found = jax.jit(T.per_example_norms(loss))(params, *examples)
    # float32: norms are sums of squares, in which nothing cancels, of gradients right to some ten roundings of
    # 6e-8 (no unit of this model is saturated)
    np.testing.assert_allclose(found, one_by_one(loss, params, examples)[0], rtol=1e-5)
    jaxpr = str(jax.make_jaxpr(T.per_example_norms(loss))(params, *examples))
    assert "f32[5,6,8]" not in jaxpr


@IN_64_BITS
def test_torch_s_per_sample_gradients():
    torch = pytest.importorskip("torch")
    loss, params, examples = case("mlp")
    weights = {name: torch.tensor(np.asarray(leaf)) for name, leaf in params.items()}

    def torch_loss(p, x, y):
        logits = p["w2"] @ torch.tanh(p["w1"] @ x + p["b1"])
        return -torch.log_softmax(logits, -1).gather(-1, y[None])[0]

    free = {name: weights[name] for name in ("w1", "b1", "w2")}
    theirs = [torch.tensor(np.array(leaf)) for leaf in examples]
    expected = torch.func.vmap(torch.func.grad(torch_loss), (None, 0, 0))(free, *theirs)
    found = T.per_example_grad(loss)(params, *examples)
    for name in free:
        np.testing.assert_allclose(found[name], expected[name].numpy(), rtol=FLOAT64, atol=1e-12)
