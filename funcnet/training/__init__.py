"""Train state, the loop, metrics, progress."""

from funcnet.training import metrics, pictures
from funcnet.training.loop.evaluation import evaluate, test
from funcnet.training.loop.fit import fit
from funcnet.training.loop.history import History
from funcnet.training.loop.length import Epochs
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.loop.resuming import resume
from funcnet.training.loss_scaling import DynamicLossScale, dynamic_loss_scale
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, accuracy, supervised
from funcnet.training.pictures.curves import plot
from funcnet.training.predict import predict
from funcnet.training.progress import Progress
from funcnet.training.rescue import rescued
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState

__all__ = [
    "DynamicLossScale",
    "Epochs",
    "History",
    "Loop",
    "Objective",
    "Observer",
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
    "pictures",
    "plot",
    "rescued",
    "predict",
    "resume",
    "supervised",
    "test",
]
