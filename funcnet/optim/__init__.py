"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""

from funcnet.optim import schedules
from funcnet.optim.adagrads import adadelta, adagrad, rmsprop
from funcnet.optim.adam_variants import adamax, nadam, radam
from funcnet.optim.adams import adam, adamw, bias_correction
from funcnet.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from funcnet.optim.descent import asgd, sgd
from funcnet.optim.hyperparameters import (
    Hyperparameter,
    Hyperparameters,
    hyperparams,
    with_hyperparams,
)
from funcnet.optim.leaves import Leaves, Move, compute_dtype, init_slots, is_trainable
from funcnet.optim.line_search import Point, cubic_minimum, strong_wolfe
from funcnet.optim.matrices import adafactor, muon, orthogonalize
from funcnet.optim.packing import PackedState, packed
from funcnet.optim.partition import Groups, freeze, frozen, groups, mask
from funcnet.optim.precision import LossScaleState, MasterState, loss_scale, master_copy, scale_loss
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    apply_updates,
    chain,
    identity,
    require_params,
    stateless,
    with_extra,
    zeros_slot,
)
from funcnet.optim.quasi_newton import LBFGSState, lbfgs
from funcnet.optim.rule import Rule, RuleState, from_rule, oriented
from funcnet.optim.scaling import add_decayed_weights, scale
from funcnet.optim.signs import lion, rprop
from funcnet.optim.wrappers import (
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

__all__ = [
    "AccumulateState",
    "AverageState",
    "GradientTransformation",
    "Groups",
    "Hyperparameter",
    "Hyperparameters",
    "LBFGSState",
    "Leaves",
    "LookaheadState",
    "LossScaleState",
    "MasterState",
    "Move",
    "PackedState",
    "Point",
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
    "add_decayed_weights",
    "all_finite",
    "apply_updates",
    "asgd",
    "average",
    "bias_correction",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "compute_dtype",
    "cubic_minimum",
    "freeze",
    "from_rule",
    "frozen",
    "global_norm",
    "groups",
    "hyperparams",
    "identity",
    "init_slots",
    "is_trainable",
    "lbfgs",
    "lion",
    "lookahead",
    "loss_scale",
    "mask",
    "master_copy",
    "muon",
    "nadam",
    "oriented",
    "orthogonalize",
    "packed",
    "radam",
    "require_params",
    "rmsprop",
    "rprop",
    "scale",
    "scale_loss",
    "schedules",
    "sgd",
    "skip_nonfinite",
    "stateless",
    "strong_wolfe",
    "with_extra",
    "with_hyperparams",
    "zeros_slot",
]
