"""Loaded functions are differentiated as the live ones, under every transform, where it was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, export, nn, optim
from funcnet import functional as F
from funcnet.core.errors import ExportError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with weights in two dtypes, an integer input, and an output of integers beside that of floats."""

    def model(params, state, x, ids, scale):
        hidden = jnp.tanh(x @ params["w"] + params["table"][ids].astype(jnp.float32))
        return {"y": hidden * scale, "best": hidden.argmax(-1)}, {"seen": state["seen"] + 1}

    rng = np.random.default_rng(0)
    params = {
        "w": jnp.asarray(rng.standard_normal((3, 4)), jnp.float32),
        "table": jnp.asarray(rng.standard_normal((5, 4)), jnp.bfloat16),
        "unused": jnp.arange(3),
    }
    state = {"seen": jnp.int32(0)}
    specs = [export.spec(("batch", 3)), export.spec(("batch",), "int32"), export.spec(())]
    path = tmp_path_factory.mktemp("saved") / "m.fnx"
    export.save(path, model, params, state, *specs, differentiable=True, sizes=[{"batch": 2}])
    x = jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)
    return model, params, state, (x, jnp.array([4, 0]), jnp.float32(3)), export.load(path)


def loss_of(call, state, inputs):
    def loss(w, table, x, scale):
        params = {"w": w, "table": table, "unused": jnp.arange(3)}
        output, _ = call(params, state, x, inputs[1], scale)
        return (output["y"] ** 2).sum() + output["y"][0, 0]

    return loss


TRANSFORMS = {
    "grad": lambda f: jax.grad(f, argnums=(0, 1, 2, 3)),
    "value_and_grad": lambda f: jax.value_and_grad(f, argnums=(0, 3)),
    "jit": lambda f: jax.jit(jax.grad(f, argnums=(0, 1))),
    "jacrev": lambda f: jax.jacrev(lambda *a: jnp.stack([f(*a), 2 * f(*a)]), argnums=(2,)),
    "remat": lambda f: jax.grad(jax.checkpoint(f), argnums=(0, 2)),
    "scan": lambda f: (
        lambda w, t, x, s: jax.lax.scan(
            lambda w, _: (w - 0.1 * jax.grad(f)(w, t, x, s), f(w, t, x, s)), w, None, 3
        )
    ),
    "vmap": lambda f: (
        lambda w, t, x, s: jax.vmap(jax.grad(f, (0, 2)), (0, None, 0, None))(
            jnp.stack([w, 2 * w]), t, jnp.stack([x, x + 1]), s
        )
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_derivatives_are_those_of_the_function(saved, transform):
    model, params, state, inputs, artifact = saved
    given = params["w"], params["table"], inputs[0], inputs[2]
    with jax.numpy_dtype_promotion("standard"):
        got = jax.jit(TRANSFORMS[transform](loss_of(artifact.apply, state, inputs)))(*given)
        expected = jax.jit(TRANSFORMS[transform](loss_of(model, state, inputs)))(*given)

    def close(one, other):
        assert one.dtype == other.dtype
        narrow = one.dtype == jnp.bfloat16
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        # float32 after sums in another order; bfloat16 keeps eight bits
        tolerance = 1e-2 if narrow else 2e-5
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())

    jax.tree.map(close, got, expected)


def test_integers_have_no_gradient_and_other_sizes_use_the_open_program(saved):
    model, params, state, (x, ids, scale), artifact = saved
    x, ids = jnp.concatenate([x, x]), jnp.concatenate([ids, ids])
    got, expected = (
        jax.grad(lambda x: call(params, state, x, ids, scale)[0]["y"].sum())(x)
        for call in (artifact.apply, model)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    # float0: integers have no derivative
    made = jax.grad(lambda ids: artifact(x, ids, scale)["y"].sum(), allow_int=True)(ids)
    assert made.dtype == jax.dtypes.float0


@pytest.mark.parametrize(
    "order", [jax.jacrev, jax.grad, jax.jacfwd], ids=["jacrev", "grad", "jacfwd"]
)
def test_second_derivatives_are_refused(saved, order):
    _, _, _, (x, ids, scale), artifact = saved

    def first(scale):
        return jax.grad(lambda s: (artifact(x, ids, s)["y"] ** 2).sum())(scale)

    kind, words = (
        (TypeError, "forward-mode") if order is jax.jacfwd else (ExportError, "no second ones")
    )
    with pytest.raises(kind, match=words):
        order(first)(scale)


def test_a_derivative_that_was_not_asked_for_is_refused(tmp_path):
    path = export.save(tmp_path / "m.fnx", lambda p, s, x: (x * 2, s), {}, {}, export.spec((3,)))
    artifact = export.load(path)
    x = jnp.ones(3)
    for transform in (
        jax.grad(lambda x: artifact(x).sum()),
        jax.jit(jax.jacfwd(artifact)),
        jax.vmap(jax.grad(lambda x: artifact(jnp.full(3, x)).sum())),
    ):
        with pytest.raises(ExportError, match="differentiable=True"):
            transform(x)
    fixed = jax.grad(lambda x: (x * artifact(jax.lax.stop_gradient(x))).sum())(x)
    np.testing.assert_array_equal(fixed, 2 * x)


def test_fine_tuning_a_loaded_model_is_that_of_the_live_one(tmp_path, key):
    """As TorchScript's users do: load, train on, with dropout's key and the statistics of batches."""
    net = fn.functionalize(
        nn.Sequential(
            nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10)
        )
    )
    params, state = net.init(key)

    def train(params, state, image, numbers):
        return net.apply(params, state, image, key=jax.random.wrap_key_data(numbers), train=True)

    specs = export.spec(("batch", 64), name="image"), export.spec((2,), "uint32", "key")
    path = export.save(
        tmp_path / "m.fnx", train, params, state, *specs,
        differentiable=True, returns_state=True, sizes=[{"batch": 32}], symbolic=False,
    )  # fmt: skip
    digits = data.mnist()[0][:96]
    images = jnp.asarray(digits["image"].reshape(96, -1)[:, ::12][:, :64], jnp.float32) / 255
    labels = jnp.asarray(digits["label"])
    artifact = export.load(path)
    optimizer = optim.adamw(1e-2)

    def fitted(apply, params, state):
        losses, memory = [], optimizer.init(params)

        @jax.jit
        def step(params, state, memory, x, y, numbers):
            def loss(params):
                scores, new = apply(params, state, x, numbers)
                return F.cross_entropy(scores, y), new

            (value, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, memory = optimizer.update(grads, memory, params)
            return optim.apply_updates(params, updates), new, memory, value

        for turn in range(12):
            rows = slice(turn % 3 * 32, turn % 3 * 32 + 32)
            numbers = jax.random.key_data(jax.random.key(turn))
            params, state, memory, value = step(
                params, state, memory, images[rows], labels[rows], numbers
            )
            losses.append(float(value))
        return losses, params, state

    live, loaded = (
        fitted(train, params, state),
        fitted(artifact.apply, artifact.params, artifact.state),
    )
    assert live[0][-1] < live[0][0] - 0.5
    # each step is compiled whole, and the stored program has the same operations: bit by bit the same
    jax.tree.map(np.testing.assert_array_equal, loaded, live)
