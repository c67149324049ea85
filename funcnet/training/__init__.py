"""Train state, the loop, metrics, progress."""

from funcnet.training import metrics, pictures
from funcnet.training.loop.evaluation import evaluate
from funcnet.training.loop.fit import fit
from funcnet.training.loop.history import History
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.loop.progress import Progress
from funcnet.training.loop.resuming import resume
from funcnet.training.loss_scaling import DynamicLossScale, dynamic_loss_scale
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, accuracy, supervised
from funcnet.training.pictures.curves import plot
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState
from funcnet.training.trials.batch_size import BatchSizeSearch, find_batch_size
from funcnet.training.trials.learning_rate import RateSearch, find_learning_rate
from funcnet.training.trials.one_batch import Overfit, overfit_one_batch

__all__ = [
    "BatchSizeSearch",
    "DynamicLossScale",
    "History",
    "Loop",
    "Objective",
    "Observer",
    "Overfit",
    "Progress",
    "RateSearch",
    "RunningMean",
    "TrainState",
    "accuracy",
    "dynamic_loss_scale",
    "evaluate",
    "find_batch_size",
    "find_learning_rate",
    "fit",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "overfit_one_batch",
    "pictures",
    "plot",
    "resume",
    "supervised",
]
