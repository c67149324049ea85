"""Areas under ROC curves and average precision are scikit-learn's, exact and in bins."""

import jax
import numpy as np
import pytest
from scipy.special import expit, logsumexp, softmax

from funcnet.training import metrics as M
from tests.training.metrics.routes import DTYPES, check, dtypes, masks, quietly, score_kinds

sk = pytest.importorskip("sklearn.metrics")

C, BINS = 4, 8
KINDS = {
    "auc": (M.ROCAUC, sk.roc_auc_score),
    "ap": (M.AveragePrecision, sk.average_precision_score),
}
WAYS = {"exact": {"capacity": 50}, "bins": {"bins": BINS}}
TOLERANCE = {"rtol": 3e-6}


def one_class(function, true, scores):
    """The value of one class, ``nan`` where it is not defined."""
    defined = true.any() and (function is sk.average_precision_score or not true.all())
    return quietly(function, true, scores) if defined else np.nan


def reference(function, true, scores, average):
    """The average over columns of those that are defined: what scikit-learn says where all are."""
    if not len(true):
        return np.full(scores.shape[1], np.nan) if average == "none" else np.nan
    if average == "micro":
        return one_class(function, true.ravel(), scores.ravel())
    each = np.array([one_class(function, t, s) for t, s in zip(true.T, scores.T, strict=True)])
    if average == "none":
        return each
    known = ~np.isnan(each)
    weights = true.sum(0) if average == "weighted" else np.ones(len(each))
    if not (known * weights).any():
        return np.nan
    found = np.average(each[known], weights=weights[known])
    if known.all():  # the reference of the reference
        assert np.isclose(found, function(true, scores, average=average), rtol=1e-9)
    return found


def in_bins(probability):
    return np.minimum(np.floor(probability.astype(np.float32) * BINS), BINS - 1)


@pytest.mark.product
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", KINDS)
def test_of_classes(name, way, average, rng, request):
    kind, function = KINDS[name]
    metric = kind(classes=C, average=average, from_logits=way == "bins", **WAYS[way])
    for dtype in dtypes(f"{name}{way}{average}", request):
        for scores, true in score_kinds(rng, C).values():
            outputs = scores.astype(DTYPES[dtype])
            # equal logits must stay equal: float64 keeps more than the ties of float32
            shares = softmax(np.asarray(outputs, np.float64), axis=-1).astype(np.float32)
            ranked = in_bins(shares) if way == "bins" else shares
            for mask in masks(rng).values():
                expected = reference(function, np.eye(C)[true[mask]] > 0, ranked[mask], average)
                # exact: probabilities as they are, so that ties are those of the reference
                given = outputs if metric.from_logits else shares
                check(metric, rng, given, true, mask, expected, **TOLERANCE)


@pytest.mark.product
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", KINDS)
def test_of_labels(name, way, average, rng):
    kind, function = KINDS[name]
    scores = score_kinds(rng, 3)["ties"][0]
    true = rng.integers(0, 2, scores.shape)
    metric = kind(classes=3, multilabel=True, average=average, **WAYS[way])
    ranked = in_bins(expit(scores)) if way == "bins" else scores
    for mask in masks(rng).values():
        expected = reference(function, true[mask] > 0, ranked[mask], average)
        check(metric, rng, scores, true, mask, expected, **TOLERANCE)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", KINDS)
def test_of_one_score(name, way, rng):
    kind, function = KINDS[name]
    for scores, true in score_kinds(rng, 2).values():
        for logits in (True, False):
            values = scores[:, 0] if logits else expit(scores[:, 0])
            ranked = in_bins(expit(scores[:, 0])) if way == "bins" else values
            metric = kind(from_logits=logits, **WAYS[way])
            for mask in masks(rng).values():
                expected = one_class(function, true[mask] > 0, ranked[mask])
                check(metric, rng, values, true, mask, expected, **TOLERANCE)


def test_logits_of_classes_are_ranked_by_their_probabilities(rng):
    """Also where all probabilities would be one."""
    scores, true = score_kinds(rng, C)["spread"]
    scores = scores * 40
    # log-odds, because a log-probability of float64 is 0 beyond 37
    wide = scores.astype(np.float64)
    odds = [wide[:, c] - logsumexp(np.delete(wide, c, axis=1), axis=1) for c in range(C)]
    found = M.ROCAUC(classes=C, average="none", capacity=42).measure(scores, true)
    expected = [sk.roc_auc_score(true == c, odds[c]) for c in range(C)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_infinite_scores_and_zeros_of_both_signs():
    scores, true = (
        np.array([-np.inf, -0.0, 0.0, np.inf, 1.0], np.float32),
        np.array([0, 1, 0, 1, 0]),
    )
    finite = np.nan_to_num(scores, posinf=9, neginf=-9)
    for kind, function in KINDS.values():
        found = kind(capacity=5).measure(scores, true)
        np.testing.assert_allclose(found, function(true, finite), rtol=1e-6)


def test_many_rows(rng):
    """Counts of pairs beyond 2^31, in float32."""
    scores = np.round(rng.standard_normal(100_000), 2).astype(np.float32)
    true = rng.random(100_000) < expit(scores)
    for kind, function in KINDS.values():
        found = kind(capacity=100_000).measure(scores, true)
        np.testing.assert_allclose(found, function(true, scores), rtol=2e-7)


def test_a_buffer_that_is_too_small_says_so():
    metric = M.ROCAUC(capacity=3)
    state = metric.init()
    for _ in range(2):
        state = metric.update(state, np.array([1.0, 2.0], np.float32), np.array([0, 1]))
    with pytest.raises(ValueError, match="4 rows were to be kept, and capacity=3 is fewer"):
        metric.compute(state)
    assert np.isnan(jax.jit(metric.compute)(state))
    with pytest.raises(ValueError, match="8 rows were to be kept"):
        metric.compute(metric.merge(state, state))
