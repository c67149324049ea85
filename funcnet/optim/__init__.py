"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""

from funcnet.optim import schedules
from funcnet.optim.adagrads import adadelta, adagrad, rmsprop
from funcnet.optim.adam_variants import adamax, nadam, radam
from funcnet.optim.adams import adam, adamw, bias_correction
from funcnet.optim.clipping import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    global_norm,
)
from funcnet.optim.descent import asgd, sgd
from funcnet.optim.gradients import NoiseState, add_noise, centralize, conjugate, sam
from funcnet.optim.hyperparameters import (
    Hyperparameter,
    Hyperparameters,
    hyperparams,
    with_hyperparams,
)
from funcnet.optim.layerwise import lamb, lars, novograd
from funcnet.optim.leaves import Move
from funcnet.optim.line_search import Point, cubic_minimum, strong_wolfe
from funcnet.optim.matrices import adafactor, muon, orthogonalize
from funcnet.optim.moments import adan, hutchinson, sophia, yogi
from funcnet.optim.packing import PackedState, packed
from funcnet.optim.partition import Groups, freeze, frozen, groups, mask
from funcnet.optim.precision import LossScaleState, MasterState, loss_scale, master_copy, scale_loss
from funcnet.optim.preconditioned import shampoo, soap
from funcnet.optim.prodigy import prodigy
from funcnet.optim.protocol import (
    GradientTransformation,
    ShapedTransformation,
    apply_updates,
    chain,
    identity,
    stateless,
    zeros_slot,
)
from funcnet.optim.quasi_newton import LBFGSState, lbfgs
from funcnet.optim.rows import RowSparse
from funcnet.optim.rule import Rule, RuleState, from_rule, oriented
from funcnet.optim.scaling import add_decayed_weights, scale
from funcnet.optim.schedule_free import schedule_free_adamw, schedule_free_params, schedule_free_sgd
from funcnet.optim.signs import lion, rprop
from funcnet.optim.sm3 import sm3
from funcnet.optim.sparse import sparse_adam
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
