"""Train state, the loop, metrics, progress."""

from funcnet.training import metrics, pictures
from funcnet.training.batch_statistics import update_batch_norm
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
from funcnet.training.probes.linear_probe import LinearProbe, linear_probe
from funcnet.training.probes.similarity import CKA, cka
from funcnet.training.progress import Progress
from funcnet.training.rescue import rescued
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState
from funcnet.training.trials.batch_size import BatchSizeSearch, find_batch_size
from funcnet.training.trials.learning_rate import RateSearch, find_learning_rate
from funcnet.training.trials.one_batch import Overfit, overfit_one_batch

__all__ = [
    "BatchSizeSearch",
    "CKA",
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
    "LinearProbe",
    "LivePlot",
    "Loop",
    "Objective",
    "Observer",
    "Overfit",
    "Profile",
    "Progress",
    "RateSearch",
    "RunningMean",
    "Samples",
    "TensorBoardLog",
    "Throughput",
    "TrainState",
    "accuracy",
    "cka",
    "dynamic_loss_scale",
    "evaluate",
    "find_batch_size",
    "find_learning_rate",
    "fit",
    "linear_probe",
    "make_eval_step",
    "make_train_step",
    "metrics",
    "overfit_one_batch",
    "pictures",
    "plot",
    "predict",
    "rescued",
    "resume",
    "supervised",
    "test",
    "update_batch_norm",
]
