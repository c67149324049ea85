"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""

from funcnet.optim import schedules
from funcnet.optim.adaptive.adagrad import adadelta, adagrad, rmsprop
from funcnet.optim.adaptive.adam import adam, adamw, bias_correction
from funcnet.optim.adaptive.adamax import adamax, nadam, radam
from funcnet.optim.adaptive.sm3 import sm3
from funcnet.optim.adaptive.sparse_adam import sparse_adam
from funcnet.optim.adaptive.yogi import adan, hutchinson, sophia, yogi
from funcnet.optim.descent.lamb import lamb, lars, novograd
from funcnet.optim.descent.lion import lion, rprop
from funcnet.optim.descent.prodigy import prodigy
from funcnet.optim.descent.schedule_free import (
    schedule_free_adamw,
    schedule_free_params,
    schedule_free_sgd,
)
from funcnet.optim.descent.sgd import asgd, sgd
from funcnet.optim.gradients.clip import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    global_norm,
)
from funcnet.optim.gradients.noise import NoiseState, add_noise, centralize, conjugate, sam
from funcnet.optim.gradients.scale import add_decayed_weights, scale
from funcnet.optim.hyperparameters import (
    Hyperparameter,
    Hyperparameters,
    hyperparams,
    with_hyperparams,
)
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    apply_updates,
    chain,
    identity,
    stateless,
    zeros_slot,
)
from funcnet.optim.row_sparse import RowSparse
from funcnet.optim.rule import Rule, RuleState, from_rule, oriented
from funcnet.optim.second_order.lbfgs import LBFGSState, lbfgs
from funcnet.optim.second_order.line_search import Point, cubic_minimum, strong_wolfe
from funcnet.optim.second_order.muon import adafactor, muon, orthogonalize
from funcnet.optim.second_order.shampoo import shampoo, soap
from funcnet.optim.wrappers.accumulate import (
    AccumulateState,
    AverageState,
    LookaheadState,
    SkipState,
    accumulate,
    all_finite,
    average,
    lookahead,
    skip_nonfinite,
)
from funcnet.optim.wrappers.groups import Groups, freeze, frozen, groups, mask
from funcnet.optim.wrappers.packed import PackedState, packed
from funcnet.optim.wrappers.precision import (
    LossScaleState,
    MasterState,
    loss_scale,
    master_copy,
    scale_loss,
)

__all__ = [
    "AccumulateState",
    "AverageState",
    "GradientTransformation",
    "Groups",
    "Hyperparameter",
    "Hyperparameters",
    "LBFGSState",
    "LookaheadState",
    "LossScaleState",
    "MasterState",
    "Move",
    "NoiseState",
    "PackedState",
    "Point",
    "RowSparse",
    "Rule",
    "RuleState",
    "ShapedTransformation",
    "SkipState",
    "accumulate",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "adaptive_clip",
    "add_decayed_weights",
    "add_noise",
    "all_finite",
    "apply_updates",
    "asgd",
    "average",
    "bias_correction",
    "centralize",
    "chain",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "conjugate",
    "cubic_minimum",
    "freeze",
    "from_rule",
    "frozen",
    "global_norm",
    "groups",
    "hutchinson",
    "hyperparams",
    "identity",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "lookahead",
    "loss_scale",
    "mask",
    "master_copy",
    "muon",
    "nadam",
    "novograd",
    "oriented",
    "orthogonalize",
    "packed",
    "prodigy",
    "radam",
    "rmsprop",
    "rprop",
    "sam",
    "scale",
    "scale_loss",
    "schedule_free_adamw",
    "schedule_free_params",
    "schedule_free_sgd",
    "schedules",
    "sgd",
    "shampoo",
    "skip_nonfinite",
    "sm3",
    "soap",
    "sophia",
    "sparse_adam",
    "stateless",
    "strong_wolfe",
    "with_hyperparams",
    "yogi",
    "zeros_slot",
]
