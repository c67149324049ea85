"""Log loss, perplexity and calibration against scikit-learn and the papers' formulas in float64."""

import jax
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax

from funcnet.training import metrics as M
from tests.training.metrics.routes import DTYPES, check, dtypes, masks, quietly, score_kinds

sk = pytest.importorskip("sklearn.metrics")
calibration = pytest.importorskip("sklearn.calibration")

C = 4


def mean(values):
    return values.mean() if len(values) else np.nan


def test_log_loss_of_logits(rng, request):
    metric = M.LogLoss()
    for dtype in dtypes("log loss", request):
        for scores, true in score_kinds(rng, C).values():
            outputs = (scores * 30).astype(
                DTYPES[dtype]
            )  # far beyond what probabilities of float32 hold
            logs = log_softmax(np.asarray(outputs, np.float64), axis=-1)
            each = -logs[np.arange(len(true)), true]
            for mask in masks(rng).values():
                check(metric, rng, outputs, true, mask, mean(each[mask]))
                check(
                    metric, rng, outputs[:, 0], true % 2, mask, mean(_binary(outputs, true)[mask])
                )


def _binary(outputs, true):
    return -log_expit(np.where(true % 2, 1, -1) * np.asarray(outputs[:, 0], np.float64))


def test_log_loss_of_probabilities_is_scikit_learns(rng):
    metric = M.LogLoss(from_logits=False)
    for scores, true in score_kinds(rng, C).values():
        shares = softmax(scores * 8, axis=-1)
        shares[0], shares[1] = (
            np.eye(C)[true[0]],
            np.eye(C)[true[1] - 1],
        )  # sure, and sure of the wrong
        for mask in masks(rng).values():
            wide = shares.astype(np.float32)
            expected = (
                quietly(sk.log_loss, true[mask], wide[mask], labels=range(C))
                if mask.any()
                else np.nan
            )
            check(metric, rng, wide, true, mask, expected)
            expected = (
                quietly(sk.log_loss, true[mask] % 2, wide[mask, 0], labels=[0, 1])
                if mask.any()
                else np.nan
            )
            check(metric, rng, wide[:, 0], true % 2, mask, expected)


def test_log_loss_of_targets_that_are_probabilities_and_of_labels(rng):
    scores, _ = score_kinds(rng, C)["spread"]
    wanted = rng.dirichlet(np.ones(C), len(scores)).astype(np.float32)
    each = -(wanted.astype(np.float64) * log_softmax(scores.astype(np.float64), axis=-1)).sum(-1)
    bits = (wanted > 0.3).astype(np.int32)
    label = -log_expit(np.where(bits, 1, -1) * scores.astype(np.float64))
    for mask in masks(rng).values():
        check(M.LogLoss(), rng, scores, wanted, mask, mean(each[mask]))
        check(M.LogLoss(multilabel=True), rng, scores, bits, mask, mean(label[mask].ravel()))


def test_perplexity_weighs_tokens(rng, request):
    scores = rng.standard_normal((42, 5, C)).astype(np.float32)
    true = rng.integers(0, C, (42, 5))
    lengths = rng.integers(0, 6, 42)
    true[np.arange(5) >= lengths[:, None]] = -100
    for dtype in dtypes("perplexity", request):
        outputs = scores.astype(DTYPES[dtype])
        logs = log_softmax(np.asarray(outputs, np.float64), axis=-1)
        each = -np.take_along_axis(logs, np.maximum(true, 0)[..., None], -1)[..., 0]
        for mask in masks(rng).values():
            kept = (true >= 0) & mask[:, None]
            check(M.Perplexity(), rng, outputs, true, mask, np.exp(mean(each[kept])))
    tokens = rng.random(true.shape) < 0.5
    found = M.Perplexity().measure(scores, true, tokens)
    logs = -np.take_along_axis(log_softmax(scores, axis=-1), np.maximum(true, 0)[..., None], -1)[
        ..., 0
    ]
    np.testing.assert_allclose(found, np.exp(logs[tokens & (true >= 0)].mean()), rtol=1e-5)


def calibration_error(confidence, right, bins, norm):
    """The paper's formula, with scikit-learn's bins."""
    if not len(right):
        return np.nan
    # float32 edges, as the confidences are
    edges = np.linspace(0, 1, bins + 1).astype(np.float32)[1:-1]
    place = np.searchsorted(edges, confidence)
    groups = [place == b for b in range(bins) if (place == b).any()]
    apart = np.array(
        [abs(right[g].mean() - confidence[g].astype(np.float64).mean()) for g in groups]
    )
    weight = np.array([g.mean() for g in groups])
    return {
        "l1": (weight * apart).sum(), "l2": np.sqrt((weight * apart**2).sum()), "max": apart.max()
    }[norm]  # fmt: skip


@pytest.mark.product
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 7, 10])
def test_calibration(norm, bins, rng):
    logits = M.CalibrationError(bins=bins, norm=norm)
    plain = M.CalibrationError(bins=bins, norm=norm, from_logits=False)
    for scores, true in score_kinds(rng, C).values():
        shares = np.asarray(jax.nn.softmax(scores, axis=-1))
        right = shares.argmax(-1) == true
        one = np.round(expit(scores[:, 0]), 1).astype(np.float32)  # many on the edges of bins
        for mask in masks(rng).values():
            expected = calibration_error(shares.max(-1)[mask], right[mask], bins, norm)
            check(logits, rng, scores, true, mask, expected, rtol=1e-5)
            check(plain, rng, shares, true, mask, expected, rtol=1e-5)
            expected = calibration_error(one[mask], true[mask] % 2, bins, norm)
            check(plain, rng, one, true % 2, mask, expected, rtol=1e-5)


def test_bins_are_those_of_calibration_curve(rng):
    true = rng.integers(0, 2, 500)
    shares = rng.random(500).astype(np.float32)
    often, confident = calibration.calibration_curve(true, shares, n_bins=10)
    found = M.CalibrationError(bins=10, norm="max", from_logits=False).measure(shares, true)
    np.testing.assert_allclose(found, np.abs(often - confident).max(), rtol=1e-5)


def test_probabilities_where_logits_are_meant_and_the_other_way_round(rng):
    scores, true = score_kinds(rng, C)["spread"]
    shares = softmax(scores, axis=-1)
    for metric in (M.LogLoss(), M.Perplexity()):
        with pytest.raises(ValueError, match="all 42 rows of outputs are probabilities"):
            metric.measure(shares, true)
    for metric in (M.LogLoss(from_logits=False), M.CalibrationError(from_logits=False)):
        with pytest.raises(ValueError, match=r"no probabilities.*from_logits=True"):
            metric.measure(scores, true)
        with pytest.raises(ValueError, match="no probabilities"):
            metric.measure(scores[:, 0], true % 2)


def test_infinite_logits():
    """A class that is ruled out costs nothing; all certainty on the wrong one costs everything."""
    logits = np.array([[-np.inf, 0.0]], np.float32)
    assert M.LogLoss().measure(logits, np.array([1])) == 0
    assert M.LogLoss().measure(logits, np.array([0])) == np.inf
