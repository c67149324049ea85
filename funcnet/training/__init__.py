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
from funcnet.training.observers.checkpoints import Checkpoints
from funcnet.training.observers.early_stop import EarlyStop
from funcnet.training.observers.keep_best import KeepBest
from funcnet.training.observers.line_logs import CSVLog, JSONLog
from funcnet.training.observers.live_plot import LivePlot
from funcnet.training.observers.optimizer_readings import GradientNorms, LearningRate
from funcnet.training.observers.samples import Samples
from funcnet.training.observers.speed import Profile, Throughput
from funcnet.training.observers.tensorboard_log import TensorBoardLog
from funcnet.training.pictures.curves import plot
from funcnet.training.predict import predict
from funcnet.training.progress import Progress
from funcnet.training.rescue import rescued
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState

__all__ = [
    "CSVLog",
    "Checkpoints",
    "DynamicLossScale",
    "EarlyStop",
    "Epochs",
    "GradientNorms",
    "History",
    "JSONLog",
    "KeepBest",
    "LearningRate",
    "LivePlot",
    "Loop",
    "Objective",
    "Observer",
    "Profile",
    "Progress",
    "RunningMean",
    "Samples",
    "TensorBoardLog",
    "Throughput",
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
    "predict",
    "rescued",
    "resume",
    "supervised",
    "test",
]
