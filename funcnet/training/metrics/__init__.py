"""Metrics that add up over batches, devices and processes: settings, and pure functions of a pytree.

    metric = metrics.FBeta(classes=10)
    state = metric.init()
    state = metric.update(state, outputs, targets, where=valid)  # in a jitted step, for each batch
    value = metric.compute(state)

What each takes and when it is ``nan`` says its docstring; what holds for all says `Metric`.
"""

from funcnet.training.metrics.accuracy import Accuracy
from funcnet.training.metrics.base import Metric, Metrics
from funcnet.training.metrics.bleu import BLEU
from funcnet.training.metrics.confusion import ConfusionMatrix, Dice, IoU
from funcnet.training.metrics.f_beta import FBeta, Precision, Recall
from funcnet.training.metrics.likelihood import CalibrationError, LogLoss, Perplexity
from funcnet.training.metrics.ranking import ROCAUC, AveragePrecision
from funcnet.training.metrics.regression import MAE, MSE, R2, RMSE, Pearson, Spearman
from funcnet.training.metrics.running_mean import Mean, RunningMean, Sum

__all__ = [
    "Accuracy",
    "AveragePrecision",
    "BLEU",
    "CalibrationError",
    "ConfusionMatrix",
    "Dice",
    "FBeta",
    "IoU",
    "LogLoss",
    "MAE",
    "MSE",
    "Mean",
    "Metric",
    "Metrics",
    "Pearson",
    "Perplexity",
    "Precision",
    "R2",
    "RMSE",
    "ROCAUC",
    "Recall",
    "RunningMean",
    "Spearman",
    "Sum",
]
