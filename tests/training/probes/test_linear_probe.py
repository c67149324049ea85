"""Linear probes: the closed form, the score, padded batches and meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, parallel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype("f4")
LABELS = (X[:, 0] > 0) + (X[:, 1] > 0.5).astype(int)
NET = fn.functionalize(nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Repeat(nn.Linear(6, 6), 2)))
PARAMS, STATE = jax.jit(NET.init)(jax.random.key(0))
SIZES = [50, 16]


def batches(size, targets=LABELS, x=X):
    samples = data.ArrayDataset({"image": x, "label": targets})
    return data.DataLoader(samples, batch_size=size, pad_last=size == 16)


def hidden(path, x=X):
    captured = fn.capture(NET, path).apply(PARAMS, STATE, jnp.asarray(x))[0][1]
    return np.asarray(captured[path], float)


def closed_form(rows, targets, penalty):
    """Ridge with an intercept that is not penalized, as least squares of more rows."""
    rows = np.c_[rows, np.ones(len(rows))]
    more = np.sqrt(penalty) * np.eye(rows.shape[1])[:-1]
    solved = np.linalg.lstsq(
        np.r_[rows, more], np.r_[targets, np.zeros((len(more), targets.shape[1]))]
    )[0]
    return solved[:-1], solved[-1]


@pytest.mark.parametrize(("size", "penalty"), [(50, 0.1), (16, 10.0)])
def test_ridge_is_least_squares(size, penalty):
    probes = fn.training.linear_probe(
        NET, PARAMS, STATE, ["1", "2.1"], batches(size), batches(size), penalty=penalty
    )
    assert list(probes) == ["1", "2.1"]
    for path, probe in probes.items():
        weight, bias = closed_form(hidden(path), np.eye(3)[LABELS], penalty)
        np.testing.assert_allclose(probe.weight, weight, atol=2e-4)
        np.testing.assert_allclose(probe.bias, bias, atol=2e-4)
        right = (hidden(path) @ weight + bias).argmax(1) == LABELS
        assert probe.score == probe.train_score == right.mean()
        np.testing.assert_allclose(probe(hidden(path)), hidden(path) @ weight + bias, atol=1e-3)


def test_without_a_penalty_no_other_weights_fit_better():
    probe = fn.training.linear_probe(NET, PARAMS, STATE, "1", batches(50), batches(50), penalty=0)[
        "1"
    ]
    weight, bias = closed_form(hidden("1"), np.eye(3)[LABELS], 0)
    errors = [
        np.square(hidden("1") @ w + b - np.eye(3)[LABELS]).sum()
        for w, b in ((probe.weight, probe.bias), (weight, bias))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_more_features_than_samples_and_targets_of_numbers():
    wide = fn.functionalize(nn.Sequential(nn.Linear(3, 80), nn.Tanh()))
    params, state = wide.init(jax.random.key(0))
    truth = np.sin(X[:, :2]).astype("f4")
    halves = (batches(25, truth[:25], X[:25]), batches(25, truth[25:], X[25:]))
    probe = fn.training.linear_probe(wide, params, state, "1", *halves, penalty=0.01)["1"]
    rows = np.asarray(wide.apply(params, state, jnp.asarray(X))[0], float)
    weight, bias = closed_form(rows[:25], truth[:25], 0.01)
    np.testing.assert_allclose(probe.weight, weight, atol=1e-4)
    errors = np.square(truth[25:] - rows[25:] @ weight - bias).sum()
    spread = np.square(truth[25:] - truth[25:].mean(0)).sum()
    assert probe.score == pytest.approx(1 - errors / spread, rel=1e-4)
    assert probe.train_score > 0.99


def test_logistic_has_no_slope_left():
    probe = fn.training.linear_probe(
        NET, PARAMS, STATE, "1", batches(50), batches(16), method="logistic", penalty=0.5
    )["1"]
    rows = jnp.asarray(hidden("1"), jnp.float32)

    @jax.jit
    def loss(model):
        weight, bias = model
        return fn.functional.cross_entropy(
            rows @ weight + bias, jnp.asarray(LABELS), reduction="sum"
        ) + 0.5 * jnp.sum(weight**2)

    model = (jnp.asarray(probe.weight, jnp.float32), jnp.asarray(probe.bias, jnp.float32))
    slopes = jax.jit(jax.grad(loss))(model)
    assert max(float(jnp.abs(each).max()) for each in slopes) < 1e-2
    moved = [jax.tree.map(lambda leaf: leaf + 0.05 * step, model) for step in (-1, 1)]
    assert all(loss(other) > loss(model) for other in moved)
    assert probe.score > 0.7


@pytest.mark.parametrize("size", SIZES[1:])
def test_on_a_mesh_it_is_the_same(size):
    expected = fn.training.linear_probe(NET, PARAMS, STATE, "1", batches(50), batches(50))["1"]
    found = fn.training.linear_probe(
        NET, PARAMS, STATE, "1", batches(size), batches(size), mesh=parallel.mesh(data=-1)
    )["1"]
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-4)
    assert found.score == expected.score


def refused(match, error=ValueError, targets=LABELS, net=NET, batches_of=None, **options):
    given = batches(50, targets) if batches_of is None else batches_of
    held_out = options.pop("held_out", given)
    with pytest.raises(error, match=match):
        fn.training.linear_probe(
            net, PARAMS, STATE, options.pop("patterns", "1"), given, held_out, **options
        )


def test_refused():
    refused("matches no path", patterns="head")
    refused("method must be one of", method="svm")
    refused("method='ridge'", TypeError, targets=X, method="logistic")
    refused("argmax", targets=np.eye(3, dtype=int)[LABELS])
    refused("class index", targets=LABELS - 1)
    refused("class index", held_out=batches(50, LABELS - 1))
    refused("targets held out must be like", held_out=batches(50, np.eye(3)[LABELS]))
    refused("batches is empty", batches_of=[])
    none = {"image": X, "label": LABELS, "valid": np.zeros(50, bool)}
    refused("held_out is empty", held_out=[none])
    refused("for one batch write", TypeError, batches_of={"image": X, "label": LABELS})
    refused("pass features=", features=lambda h: h.sum())
