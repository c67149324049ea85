"""What does not belong together is told, with what to write instead."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.training import metrics as M

F = lambda *shape: jnp.ones(shape)
N = lambda *shape: jnp.ones(shape, int)

CALLS = {
    "logits of one column": (M.Accuracy(), F(3, 1), N(3), ValueError, r"outputs\[\.\.\., 0\]"),
    "integer logits": (M.Accuracy(), N(3, 4), N(3), TypeError, r"astype\(jnp.float32\)"),
    "other classes": (M.FBeta(5), F(3, 4), N(3), ValueError, "classes=5.*have 4"),
    "float indices": (M.FBeta(4), F(3, 4), F(3), TypeError, r"astype\(jnp.int32\)"),
    "targets of one column": (M.FBeta(4), F(3, 4), N(3, 1), ValueError, r"targets\[\.\.\., 0\]"),
    "classes not last": (M.IoU(4), F(2, 4, 8, 8), N(2, 8, 8), ValueError, "moveaxis"),
    "one score for classes": (M.FBeta(4), F(4), N(4), ValueError, "without classes="),
    "classes for one score": (M.FBeta(), F(3, 4), N(3), ValueError, "classes=4"),
    "binary of one column": (M.FBeta(), F(3, 1), N(3), ValueError, r"outputs\[\.\.\., 0\]"),
    "binary targets of one column": (M.FBeta(), F(3), N(3, 1), ValueError, r"targets\[\.\.\., 0\]"),
    "other labels": (
        M.Recall(5, multilabel=True),
        F(3, 4),
        N(3, 4),
        ValueError,
        "classes=5 labels",
    ),
    "predictions to rank": (M.ROCAUC(bins=9), N(3), N(3), TypeError, "already"),
    "predictions to weigh": (M.LogLoss(), N(3), N(3), TypeError, "logits or probabilities"),
    "top of one score": (M.Accuracy(top=2), F(3), N(3), ValueError, "score for each class"),
    "a column too many": (M.MSE(), F(3, 1), F(3), ValueError, r"write outputs\[\.\.\., 0\]"),
    "a target's column": (M.R2(), F(3), F(3, 1), ValueError, r"write targets\[\.\.\., 0\]"),
    "other columns": (M.R2(columns=2), F(3, 4), F(3, 4), ValueError, "columns=2"),
    "floats as tokens": (M.BLEU(), F(3, 4), N(3, 4), TypeError, "argmax"),
    "tokens of one sentence": (M.BLEU(), N(4), N(4), ValueError, r"\(N, T\)"),
    "tokens' logits": (M.Perplexity(), F(3, 4), F(3, 4), ValueError, "vocabulary"),
    "a scalar": (M.Mean(lambda o, t: o.mean()), F(3), F(3), ValueError, "leave out its mean"),
    "complex": (M.MSE(), jnp.ones(3, complex), F(3), TypeError, "real numbers"),
    "apply's result": (M.Accuracy(), (F(3, 4), {}), N(3), TypeError, "outputs, state ="),
}


@pytest.mark.parametrize("name", CALLS)
def test_inputs(name):
    metric, outputs, targets, error, text = CALLS[name]
    with pytest.raises(error, match=text):
        metric.update(metric.init(), outputs, targets)


@pytest.mark.parametrize(
    ("where", "error", "text"),
    [
        (F(3), TypeError, "where != 0"),
        (jnp.ones(4, bool), ValueError, r"shape \(3,\)"),
        (jnp.ones((3, 4), bool), ValueError, r"shape \(3,\)"),
    ],
    ids=["floats", "length", "axes"],
)
def test_masks(where, error, text):
    for metric, outputs in ((M.Accuracy(), F(3, 4)), (M.MSE(), N(3))):
        with pytest.raises(error, match=text):
            metric.measure(outputs, N(3), where)


SETTINGS = {
    "average": (lambda: M.FBeta(3, average="mean"), "average must be one of"),
    "one class": (lambda: M.Recall(1), "two or more"),
    "labels": (lambda: M.FBeta(multilabel=True), "how many labels"),
    "threshold": (lambda: M.Precision(threshold=2.0), "probability"),
    "balanced": (lambda: M.Accuracy(average="balanced"), "needs classes="),
    "top": (lambda: M.Accuracy(top=0), "greater than zero"),
    "neither": (lambda: M.ROCAUC(), "capacity=.*bins="),
    "both": (lambda: M.ROCAUC(capacity=5, bins=5), "capacity=5 and bins=5"),
    "no room": (lambda: M.AveragePrecision(capacity=0), "capacity from 1"),
    "spearman": (lambda: M.Spearman(), "capacity from 1"),
    "normalize": (lambda: M.ConfusionMatrix(3, normalize="rows"), "normalize must be one of"),
    "norm": (lambda: M.CalibrationError(norm="l3"), "norm must be one of"),
    "smooth": (lambda: M.BLEU(smooth="add"), "smooth must be one of"),
    "texts": (lambda: M.BLEU().update_texts(M.BLEU().init(), ["a"], []), "1 and 0"),
    "perplexity": (lambda: M.Perplexity(multilabel=True), "one token"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name):
    make, text = SETTINGS[name]
    with pytest.raises(ValueError, match=text):
        make()


def test_a_function_is_not_a_metric():
    with pytest.raises(TypeError, match=r"metrics\.Mean\(function\)"):
        M.Metrics({"mae": lambda outputs, targets: np.abs(outputs - targets)})
