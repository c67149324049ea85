"""Train state, the loop, metrics, progress."""

from funcnet.training import metrics
from funcnet.training.fit import History, evaluate, fit
from funcnet.training.loss_scaling import DynamicLossScale, dynamic_loss_scale
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, accuracy, supervised
from funcnet.training.progress import Progress
from funcnet.training.resuming import resume
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState

__all__ = [
    "DynamicLossScale",
    "History",
    "Objective",
    "Progress",
    "RunningMean",
    "TrainState",
    "accuracy",
    "dynamic_loss_scale",
    "evaluate",
    "fit",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "resume",
    "supervised",
]
