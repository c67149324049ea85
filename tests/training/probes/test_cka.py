"""CKA against its formula written out, its invariances, padded batches and meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, parallel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3)).astype("f4")
BLOCK = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
NET = fn.functionalize(nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Repeat(BLOCK, 2)))
PARAMS, STATE = jax.jit(NET.init)(jax.random.key(0))
PATHS = ["0", "1", "2.0", "2.1"]


def hidden(x, net=NET, params=PARAMS, paths=PATHS):
    seen = fn.capture(net, paths).apply(params, STATE, jnp.asarray(x))[0][1]
    return [np.asarray(seen[path], float).reshape(len(x), -1) for path in paths]


def gram(rows, kernel):
    if kernel == "linear":
        return rows @ rows.T
    squares = np.square(rows[:, None] - rows).sum(-1)
    off = squares[~np.eye(len(rows), dtype=bool)]
    return np.exp(-squares / (2 * 0.25 * np.median(off)))


def hsic(k, other):
    """The estimator as Song et al. write it."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    ones = np.ones(n)
    total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))


def by_hand(parts, kernel, other=None):
    """Sums over batches, of what both models return for each."""
    grams = [[gram(rows, kernel) for rows in hidden(part)] for part in parts]
    others = (
        grams if other is None else [[gram(rows, kernel) for rows in other(part)] for part in parts]
    )
    pairs = zip(grams, others, strict=True)
    cross = sum(np.array([[hsic(k, m) for m in right] for k in left]) for left, right in pairs)
    own, of_other = (
        sum(np.array([hsic(k, k) for k in each]) for each in side) for side in (grams, others)
    )
    return cross / np.sqrt(np.outer(own, of_other))


@pytest.mark.parametrize(("size", "kernel"), [(48, "linear"), (16, "rbf"), (16, "linear")])
def test_it_is_the_formula(size, kernel):
    parts = np.split(X, len(X) // size)
    found = fn.training.cka(NET, PARAMS, STATE, PATHS, parts, kernel=kernel)
    assert found.rows == found.columns == tuple(PATHS)
    assert found.batches == len(parts)
    np.testing.assert_allclose(found.values, by_hand(parts, kernel), atol=1e-4)
    np.testing.assert_allclose(found.values.diagonal(), 1, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["rbf"])
def test_rows_that_fill_a_batch_do_not_count(kernel):
    valid = np.arange(16) < 11
    filled = {"image": np.where(valid[:, None], X[:16], np.nan).astype("f4"), "valid": valid}
    found = fn.training.cka(NET, PARAMS, STATE, PATHS, [filled], kernel=kernel)
    np.testing.assert_allclose(found.values, by_hand([X[:11]], kernel), atol=1e-4)
    rest = [X[:16], X[16:27], X[27:30]]  # of unequal sizes, the last too small
    found = fn.training.cka(NET, PARAMS, STATE, PATHS, rest, kernel=kernel)
    assert found.batches == 2
    np.testing.assert_allclose(found.values, by_hand(rest[:2], kernel), atol=1e-4)


def test_two_models():
    other = fn.functionalize(nn.Sequential(nn.Linear(3, 9), nn.ReLU()))
    params, state = other.init(jax.random.key(5))
    found = fn.training.cka(
        NET, PARAMS, STATE, PATHS, [X], other=(other, params, state), other_patterns="*"
    )
    assert found.columns == ("0", "1")
    expected = by_hand([X], "linear", lambda x: hidden(x, other, params, ["0", "1"]))
    np.testing.assert_allclose(found.values, expected, atol=1e-4)


def test_turned_and_scaled_features_are_the_same_and_others_are_not():
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0].astype("f4")
    params = {
        **PARAMS,
        "0": {"weight": 3 * turn @ PARAMS["0"]["weight"], "bias": jnp.full(6, 40.0)},
    }
    same = fn.training.cka(NET, PARAMS, STATE, "0", [X], other=(NET, params, STATE)).values
    np.testing.assert_allclose(same, 1, rtol=1e-4)
    noise = fn.functionalize(nn.Sequential(nn.Linear(3, 6)))
    unlike = {
        "0": {"weight": jnp.zeros((6, 3)).at[0].set(jnp.array([1.0, 0, 0])), "bias": jnp.zeros(6)}
    }
    assert (
        0
        < fn.training.cka(NET, PARAMS, STATE, "0", [X], other=(noise, unlike, {})).values[0, 0]
        < 0.95
    )
    constant = {"0": {"weight": jnp.zeros((6, 3)), "bias": jnp.ones(6)}}
    assert np.isnan(fn.training.cka(noise, constant, {}, "0", [X]).values).all()


@pytest.mark.parametrize("size", [20])
def test_on_a_mesh_it_is_the_same(size):
    parts = [{"image": X[at : at + size]} for at in range(0, 48, size)]
    expected = fn.training.cka(NET, PARAMS, STATE, PATHS, parts)
    found = fn.training.cka(NET, PARAMS, STATE, PATHS, parts, mesh=parallel.mesh(data=-1))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)


def test_the_table_the_picture_and_what_is_refused(tmp_path):
    pytest.importorskip("matplotlib")
    found = fn.training.cka(NET, PARAMS, STATE, PATHS, [X])
    assert "2.1" in str(found).splitlines()[0]
    assert len(str(found).splitlines()) == 5
    found.plot(tmp_path / "cka.png")
    assert (tmp_path / "cka.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="names of rows"):
        fn.training.pictures.similarity_matrix(np.eye(2), rows=["a"])
    silent = fn.functionalize(nn.Sequential(nn.Linear(3, 6), nn.Threshold(1e9, 0.5)))
    for kernel in ("linear", "rbf"):
        told = fn.training.cka(silent, {"0": PARAMS["0"]}, STATE, "*", [X], kernel=kernel).values
        np.testing.assert_array_equal(np.isfinite(told), [[True, False], [False, False]])
    with pytest.raises(ValueError, match="four real rows"):
        fn.training.cka(NET, PARAMS, STATE, PATHS, [X[:3]])
    with pytest.raises(ValueError, match="kernel must be one of"):
        fn.training.cka(NET, PARAMS, STATE, PATHS, [X], kernel="cosine")
    with pytest.raises(TypeError, match="for one batch write"):
        fn.training.cka(NET, PARAMS, STATE, PATHS, X)
