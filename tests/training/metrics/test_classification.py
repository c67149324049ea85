"""Accuracy, precision, recall, F-beta, IoU, Dice and confusion matrices are scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.training import metrics as M
from tests.training.metrics.routes import DTYPES, check, dtypes, masks, quietly, score_kinds

sk = pytest.importorskip("sklearn.metrics")

C = 5


def nan_of_nothing(function):
    """scikit-learn has no value, or refuses, where no row counts; here it is ``nan``."""

    def reference(true, scores):
        return function(true, scores) if len(true) else np.nan

    return reference


def per_class(score, none_in):
    """Each class's score, ``nan`` where the class occurs nowhere."""

    def reference(true, scores):
        if not len(true):
            return np.full(C, np.nan)
        predicted = scores.argmax(-1)
        each = np.array(score(true, predicted, labels=range(C), average=None, zero_division=0))
        seen = [np.isin(c, none_in(true, predicted)) for c in range(C)]
        return np.where(seen, each, np.nan)

    return reference


def both(true, predicted):
    return np.concatenate([true, predicted])


def top_k(k):
    def reference(true, scores):
        # scikit-learn takes the last of equal scores first, so classes are given the other way round
        back = C - 1 - true
        return sk.top_k_accuracy_score(back, scores[:, ::-1], k=k, labels=range(C))

    return nan_of_nothing(reference)


def averaged(function, average, **settings):
    def reference(true, scores):
        return function(true, scores.argmax(-1), average=average, **settings)

    return nan_of_nothing(reference)


def dice(*args, **kwargs):
    return sk.f1_score(*args, **kwargs)


SCORES = {
    "precision": (M.Precision, sk.precision_score, {}),
    "recall": (M.Recall, sk.recall_score, {}),
    "f1": (M.FBeta, sk.f1_score, {}),
    "f2": (M.FBeta, sk.fbeta_score, {"beta": 2.0}),
    "iou": (M.IoU, sk.jaccard_score, {}),
    "dice": (M.Dice, dice, {}),
}
AVERAGES = ("macro", "micro", "weighted")
DIVISIONS = {"0": 0.0, "1": 1.0}

MULTICLASS = {
    "accuracy": (M.Accuracy(), nan_of_nothing(lambda t, s: (s.argmax(-1) == t).mean())),
    "accuracy per class": (
        M.Accuracy(average="none", classes=C),
        per_class(sk.recall_score, lambda true, _: true),
    ),
    "accuracy balanced": (
        M.Accuracy(average="balanced", classes=C),
        nan_of_nothing(lambda t, s: sk.balanced_accuracy_score(t, s.argmax(-1))),
    ),
    **{f"top {k}": (M.Accuracy(top=k), top_k(k)) for k in (2, 3, 4)},
    **{
        f"{name} {average} {zero}": (
            kind(classes=C, average=average, zero_division=division, **settings),
            averaged(function, average, zero_division=division, **settings),
        )
        for name, (kind, function, settings) in SCORES.items()
        for average in AVERAGES
        for zero, division in DIVISIONS.items()
    },
    **{
        f"{name} nan": (
            kind(classes=C, zero_division=None, **settings),
            averaged(function, "macro", zero_division=np.nan, **settings),
        )
        for name, (kind, function, settings) in SCORES.items()
        if name != "iou"  # scikit-learn's has no nan
    },
    **{
        f"{name} per class": (
            kind(classes=C, average="none"),
            per_class(function, both),
        )
        for name, (kind, function, settings) in SCORES.items()
        if not settings
    },
    **{
        f"confusion {name}": (
            M.ConfusionMatrix(C, normalize=name),
            lambda t, s, name=name: (
                sk.confusion_matrix(
                    t,
                    s.argmax(-1),
                    labels=range(C),
                    normalize={"predicted": "pred"}.get(name, name),
                )
                if len(t)
                else np.zeros((C, C))
            ),
        )
        for name in (None, "true", "predicted", "all")
    },
}


@pytest.mark.product
@pytest.mark.parametrize("name", MULTICLASS)
def test_scores_of_classes(name, rng, request):
    metric, reference = MULTICLASS[name]
    for dtype in dtypes(name, request):
        for scores, true in score_kinds(rng, C).values():
            outputs = scores.astype(DTYPES[dtype])
            for mask in masks(rng).values():
                seen = np.asarray(outputs, np.float32)[mask]
                expected = quietly(reference, true[mask], seen)
                check(metric, rng, outputs, true, mask, expected)


@pytest.mark.parametrize(
    "name", ["accuracy balanced", "f2 macro 0", "iou per class", "confusion None"]
)
def test_predicted_classes_and_one_hot_targets_are_the_same(name, rng):
    metric, reference = MULTICLASS[name]
    scores, true = score_kinds(rng, C)["spread"]
    mask = masks(rng)["some"]
    expected = quietly(reference, true[mask], scores[mask])
    check(metric, rng, scores.argmax(-1).astype(np.int32), true, mask, expected)
    for dtype in (np.float32, np.int32, bool):
        check(metric, rng, scores, np.eye(C)[true].astype(dtype), mask, expected)
    for dtype in (np.uint8, np.int8, np.int64):
        check(metric, rng, scores, true.astype(dtype), mask, expected)


def test_rows_and_tokens(rng):
    """Scores of any number of axes, masked by rows or by rows and tokens."""
    scores = rng.standard_normal((4, 6, C)).astype(np.float32)
    true, tokens = rng.integers(0, C, (4, 6)), rng.random((4, 6)) < 0.5
    for metric, reference in (MULTICLASS["accuracy"], MULTICLASS["f1 macro 0"]):
        found = metric.measure(scores, true, tokens)
        np.testing.assert_allclose(found, reference(true[tokens], scores[tokens]), rtol=1e-6)
        rows = tokens[:, 0]
        expected = reference(true[rows].ravel(), scores[rows].reshape(-1, C))
        np.testing.assert_allclose(metric.measure(scores, true, rows), expected, rtol=1e-6)


def binary(function, **settings):
    return nan_of_nothing(lambda true, found: function(true, found, **settings))


BINARY = {
    "accuracy": (M.Accuracy, {}, binary(sk.accuracy_score)),
    **{
        f"{name} {zero}": (
            kind,
            {"zero_division": division, **settings},
            binary(function, zero_division=division, **settings),
        )
        for name, (kind, function, settings) in SCORES.items()
        for zero, division in DIVISIONS.items()
    },
    "confusion": (
        M.ConfusionMatrix,
        {},
        lambda true, found: (
            sk.confusion_matrix(true, found, labels=[0, 1]) if len(true) else np.zeros((2, 2))
        ),
    ),
}


@pytest.mark.product
@pytest.mark.parametrize("name", BINARY)
def test_one_score_for_each_target(name, rng, request):
    kind, settings, reference = BINARY[name]
    (scores, _), _, (_, few), (_, one) = score_kinds(rng, 2).values()
    for threshold in (0.5, 0.8):
        for logits in (True, False):
            metric = kind(threshold=threshold, from_logits=logits, **settings)
            values = scores[:, 0] if logits else np.abs(np.sin(scores[:, 0]))
            for true in (few, one, 1 - one):
                for mask in masks(rng).values():
                    cut = np.log(threshold / (1 - threshold)) if logits else threshold
                    expected = quietly(reference, true[mask], (values > cut)[mask].astype(int))
                    check(metric, rng, values, true, mask, expected)


@pytest.mark.product
@pytest.mark.parametrize("average", [*AVERAGES, "none"])
@pytest.mark.parametrize("name", SCORES)
def test_labels_that_do_not_exclude_each_other(name, average, rng):
    kind, function, settings = SCORES[name]
    scores = rng.standard_normal((42, 3)).astype(np.float32)
    true = rng.integers(0, 2, (42, 3)) * np.array([1, 1, 0])  # one that nothing has
    for division in (0.0, 1.0):
        metric = kind(
            classes=3, multilabel=True, average=average, zero_division=division, **settings
        )
        for mask in masks(rng).values():
            options = {"average": None if average == "none" else average, **settings}
            expected = np.full(3, np.nan) if average == "none" else np.nan
            if mask.any():
                expected = quietly(
                    function,
                    true[mask],
                    (scores > 0)[mask].astype(int),
                    zero_division=division,
                    **options,
                )
            check(metric, rng, scores, true, mask, expected)


def test_nan_and_classes_that_there_are_not_are_never_counted(rng):
    scores, true = score_kinds(rng, C)["spread"]
    for name in ("accuracy", "f1 macro 0", "confusion all"):
        metric, _ = MULTICLASS[name]
        bad = scores.copy()
        bad[3, 1] = np.nan
        state = metric.update(metric.init(), bad, true)
        assert np.isnan(np.asarray(metric.compute(state))).all()
        assert metric.problems(state) == ["the outputs or targets of 1 rows hold NaN"]
        for wrong in (-1, C):
            outside = true.copy()
            outside[:2] = wrong
            state = metric.update(metric.init(), scores, outside)
            with pytest.raises(ValueError, match=r"targets \(or predictions\) of 2 rows"):
                metric.compute(state)
            assert len(metric.problems(state)) == 1
            assert np.isnan(np.asarray(jax.jit(metric.compute)(state))).all()


def test_a_matrix_of_counts_has_no_nan_so_it_says_minus_one():
    metric = M.ConfusionMatrix(2)
    found = metric.measure(jnp.array([[jnp.nan, 1.0]]), jnp.array([0]))
    assert found.dtype == jnp.int32
    assert found.tolist() == [[-1, -1], [-1, -1]]
