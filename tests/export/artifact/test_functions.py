"""Several functions of one model, caches, state, keys as numbers, and what is done with inputs first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import export, nn
from tests.export.artifact.structures import assert_same_trees


class Coder(nn.Module):
    """Two functions that share a weight."""

    def __init__(self):
        self.inner = nn.Linear(4, 2)
        self.back = nn.Linear(2, 4)

    def __call__(self, image):
        return self.decode(self.encode(image))

    def encode(self, image):
        return jnp.tanh(self.inner(image))

    def decode(self, code):
        return self.back(code)


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    module = Coder()
    net = fn.functionalize(module)
    params, state = net.init(jax.random.key(1))
    functions = {
        "call": export.entry(net, export.spec(("batch", 4))),
        "encode": export.entry(fn.functionalize(module.encode), export.spec(("batch", 4))),
        "decode": export.entry(fn.functionalize(module.decode), export.spec((2,))),
    }
    path = tmp_path_factory.mktemp("coder") / "coder.fnx"
    export.save(path, functions, params, state, sizes=[], metadata={"epochs": "3"})
    return net, params, state, export.load(path)


def test_functions_share_the_weights(coder, rng):
    net, params, state, artifact = coder
    x = rng.standard_normal((5, 4)).astype(np.float32)
    code = artifact["encode"](x)
    expected = net.apply(params, state, x)[0]
    for got in (artifact(x), artifact(image=x), jax.vmap(artifact["decode"])(code)):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # float32
    assert list(artifact.functions) == ["call", "encode", "decode"]
    assert artifact.manifest.metadata == {"epochs": "3"}
    assert (
        repr(artifact["encode"]) == "encode(image: float32[batch, 4]) -> output: float32[batch, 2]"
    )
    assert set(artifact.stored) == {"inner.weight", "inner.bias", "back.weight", "back.bias"}
    assert_same_trees(artifact.params, params)


def test_other_weights_are_given_as_a_live_model_takes_them(coder, rng):
    net, params, state, artifact = coder
    other, _ = net.init(jax.random.key(2))
    x = rng.standard_normal((3, 4)).astype(np.float32)
    output, same = artifact.apply(other, state, x)
    np.testing.assert_allclose(output, net.apply(other, state, x)[0], rtol=1e-5, atol=1e-6)
    assert same == state
    several = jax.tree.map(lambda *a: jnp.stack(a), params, other)
    outputs = jax.jit(jax.vmap(lambda p: artifact.apply(p, state, x)[0]))(several)
    expected = jnp.stack([net.apply(p, state, x)[0] for p in (params, other)])
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_a_cache_goes_in_and_out(tmp_path, rng):
    """A named tuple comes out as a dict of its fields, and either goes in."""

    def step(params, state, token, cache):
        cache = cache.append(token[:, None], params["w"] * token[:, None])
        return {"sum": cache.value.sum(1), "cache": cache}, state

    empty = nn.KeyValueCache.empty((2,), 6, 3)
    specs = export.spec((2, 3)), empty
    params = {"w": jnp.float32(2)}
    path = export.save(tmp_path / "m.fnx", {"step": export.entry(step, *specs)}, params, {})
    loaded = export.load(path)
    cache, live = empty, empty
    for _ in range(4):
        token = jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)
        made = loaded(token, cache)
        live = step(params, {}, token, live)[0]["cache"]
        cache = made["cache"]
        assert_same_trees(cache, live)
    assert int(cache["length"]) == 4
    assert [each.name for each in loaded["step"].record.inputs] == [
        "token",
        "cache.key",
        "cache.value",
        "cache.length",
    ]


def test_state_comes_out_and_goes_in_again(tmp_path, rng, key):
    net = fn.functionalize(nn.BatchNorm1d(3))
    params, state = net.init(key)
    path = export.save(
        tmp_path / "m.fnx",
        {
            "train": export.entry(net, export.spec(("batch", 3)), returns_state=True, train=True),
            "call": export.entry(net, export.spec(("batch", 3))),
        },
        params,
        state,
        sizes=[],
    )
    artifact = export.load(path)
    for _ in range(3):
        x = rng.standard_normal((6, 3)).astype(np.float32)
        output, new = artifact["train"].apply(params, state, x)
        expected, state = net.apply(params, state, x, train=True)
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, state)
    output, same = artifact.apply(params, state, x)
    np.testing.assert_allclose(output, net.apply(params, state, x)[0], rtol=1e-5, atol=1e-6)
    assert same is state


def test_keys_are_numbers_and_inputs_are_prepared_in_the_program(tmp_path, rng, key):
    net = fn.functionalize(nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)))
    params, state = net.init(key)

    def drop(params, state, image, key):
        return net.apply(params, state, image, key=key, train=True)

    def prepare(pixels, numbers):
        return pixels.astype(jnp.float32) / 255, jax.random.wrap_key_data(numbers)

    specs = export.spec(("batch", 3), "uint8"), export.spec((2,), "uint32", "key")
    path = export.save(
        tmp_path / "m.fnx", drop, params, state, *specs, preprocess=prepare, sizes=[]
    )
    artifact = export.load(path)
    pixels = rng.integers(0, 255, (4, 3), dtype=np.uint8)
    numbers = jax.random.key_data(jax.random.key(7))
    expected = drop(params, state, jnp.asarray(pixels, jnp.float32) / 255, jax.random.key(7))[0]
    np.testing.assert_allclose(artifact(pixels, key=numbers), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="described by its numbers"):
        export.entry(drop, export.spec((3,)), jax.random.key(0))


@pytest.mark.parametrize("shape", [("batch", "2*batch + 1", 2), ("time", "batch", "time")], ids=str)
def test_lengths_are_sums_and_products(shape, tmp_path, rng):
    def flat(params, state, x, y):
        return (x.reshape(-1), jnp.concatenate([y, y[:1]])), state

    specs = export.spec(shape), export.spec((shape[0], 3))
    artifact = export.load(export.save(tmp_path / "m.fnx", flat, {}, {}, *specs, sizes=[]))
    for first, second in ((2, 5), (3, 7)):
        sizes = (
            {"batch": first, "2*batch + 1": second}
            if shape[0] == "batch"
            else {"time": first, "batch": 4}
        )
        x = rng.standard_normal([sizes.get(n, n) for n in shape]).astype(np.float32)
        y = rng.standard_normal((x.shape[0], 3)).astype(np.float32)
        assert_same_trees(artifact(x, y), flat({}, {}, jnp.asarray(x), jnp.asarray(y))[0])
    wrong = np.zeros((*x.shape[:-1], x.shape[-1] + 1), np.float32)
    with pytest.raises(ValueError, match="x is float32"):
        artifact(wrong[:, :-1] if shape[0] == "batch" else wrong, y)
