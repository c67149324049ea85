"""Errors, R² and correlations are scikit-learn's and SciPy's, also far from zero and in long runs."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from funcnet.training import metrics as M
from tests.training.metrics.routes import (
    DTYPES,
    ROWS,
    check,
    dtypes,
    masks,
    quietly,
    states,
    update,
)

sk = pytest.importorskip("sklearn.metrics")


def pearson(true, found):
    return quietly(stats.pearsonr, found, true)[0] if len(true) > 1 else np.nan


def spearman(true, found):
    return quietly(stats.spearmanr, found, true)[0] if len(true) > 1 else np.nan


def of_some(function, rows=1):
    return lambda true, found: function(true, found) if len(true) >= rows else np.nan


METRICS = {
    "mse": (M.MSE, {}, of_some(sk.mean_squared_error)),
    "mae": (M.MAE, {}, of_some(sk.mean_absolute_error)),
    "rmse": (M.RMSE, {}, of_some(sk.root_mean_squared_error)),
    "r2": (M.R2, {}, of_some(sk.r2_score, 2)),
    "pearson": (M.Pearson, {}, pearson),
    "spearman": (M.Spearman, {"capacity": 50}, spearman),
}


def number_kinds(rng, width=1):
    """Outputs and targets: alike, with many ties, far from zero, constant."""
    true = rng.standard_normal((ROWS, width)).astype(np.float32)
    found = (true + rng.standard_normal((ROWS, width))).astype(np.float32)
    return {
        "alike": (found, true),
        "opposite": (-found, true),
        "ties": (np.round(found), np.round(true)),
        "far": (found + 4096, true + 4096),
        "constant": (found, np.full_like(true, 0.1)),
        "exact": (np.full_like(true, 0.1), np.full_like(true, 0.1)),
    }


@pytest.mark.parametrize("name", METRICS)
def test_one_column(name, rng, request):
    kind, settings, reference = METRICS[name]
    metric = kind(**settings)
    for dtype in dtypes(name, request):
        for found, true in number_kinds(rng).values():
            outputs, true = found[:, 0].astype(DTYPES[dtype]), true[:, 0]
            seen = np.asarray(outputs, np.float64)
            for mask in masks(rng).values():
                expected = quietly(reference, true[mask].astype(np.float64), seen[mask])
                # 1 - share, and a correlation, near zero are differences of numbers near one
                check(metric, rng, outputs, true, mask, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("name", METRICS)
def test_several_columns(name, rng):
    kind, settings, reference = METRICS[name]
    metric = kind(columns=3, **settings)
    for outputs, true in number_kinds(rng, 3).values():
        for mask in masks(rng).values():
            wide = [part[mask].astype(np.float64) for part in (true, outputs)]
            expected = [quietly(reference, *(part[:, c] for part in wide)) for c in range(3)]
            check(metric, rng, outputs, true, mask, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_nan_makes_nan_and_masked_ones_do_not(name, rng):
    kind, settings, _ = METRICS[name]
    metric = kind(**settings)
    outputs, true = (part[:, 0] for part in number_kinds(rng)["alike"])
    outputs = outputs.copy()
    outputs[5] = np.nan
    mask = np.arange(ROWS) != 5
    for _, state in states(metric, rng, outputs, true, np.ones(ROWS, bool)):
        assert np.isnan(metric.compute(state))
    for _, state in states(metric, rng, outputs, true, mask):
        assert np.isfinite(metric.compute(state))


def test_elements_of_any_shape_and_masks_of_elements(rng):
    outputs, true = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    mask = rng.random((3, 4)) < 0.5
    found = M.MSE().measure(outputs, true, mask)
    np.testing.assert_allclose(found, ((outputs - true)[mask] ** 2).mean(), rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_long_runs_far_from_zero(offset, rng):
    """A thousand batches around an offset: float32 sums of squares would have no digit left."""
    shape = (1000, 16)
    true = (offset + rng.standard_normal(shape)).astype(np.float32)
    found = (true + rng.standard_normal(shape) / 4).astype(np.float32)
    for name in ("r2", "pearson", "mse"):
        kind, settings, reference = METRICS[name]
        metric = kind(**settings)
        state = metric.init()
        for batch in zip(found, true, strict=True):
            state = update(metric, state, *batch, np.ones(16, bool))
        expected = reference(true.ravel().astype(np.float64), found.ravel().astype(np.float64))
        np.testing.assert_allclose(metric.compute(state), expected, rtol=1e-6)


def test_an_infinite_error_is_infinite():
    found = M.MAE().measure(jnp.array([jnp.inf, 1.0]), jnp.array([0.0, 0.0]))
    assert found == jnp.inf
