"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.optim import schedules
from funcnet.optim.adaptive.adadelta import adadelta
from funcnet.optim.adaptive.adafactor import adafactor
from funcnet.optim.adaptive.adagrad import adagrad
from funcnet.optim.adaptive.adam import adam, adamw, bias_correction
from funcnet.optim.adaptive.adamax import adamax
from funcnet.optim.adaptive.adan import adan
from funcnet.optim.adaptive.nadam import nadam
from funcnet.optim.adaptive.radam import radam
from funcnet.optim.adaptive.rmsprop import rmsprop
from funcnet.optim.adaptive.sm3 import sm3
from funcnet.optim.adaptive.sparse_adam import sparse_adam
from funcnet.optim.adaptive.yogi import yogi
from funcnet.optim.descent.asgd import asgd
from funcnet.optim.descent.lamb import lamb
from funcnet.optim.descent.lars import lars
from funcnet.optim.descent.lion import lion
from funcnet.optim.descent.novograd import novograd
from funcnet.optim.descent.prodigy import prodigy
from funcnet.optim.descent.rprop import rprop
from funcnet.optim.descent.schedule_free import (
    schedule_free_adamw,
    schedule_free_params,
    schedule_free_sgd,
)
from funcnet.optim.descent.sgd import sgd
from funcnet.optim.gradients.centralize import centralize
from funcnet.optim.gradients.clip import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from funcnet.optim.gradients.conjugate import conjugate
from funcnet.optim.gradients.global_norm import global_norm
from funcnet.optim.gradients.noise import NoiseState, add_noise
from funcnet.optim.gradients.sam import sam
from funcnet.optim.gradients.scale import scale
from funcnet.optim.gradients.weight_decay import add_decayed_weights
from funcnet.optim.hyperparameters import (
    Hyperparameter,
    Hyperparameters,
    hyperparams,
    with_hyperparams,
)
from funcnet.optim.per_leaf import Move
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
from funcnet.optim.second_order.hutchinson import hutchinson
from funcnet.optim.second_order.lbfgs import LBFGSState, lbfgs
from funcnet.optim.second_order.line_search import Point, cubic_minimum, strong_wolfe
from funcnet.optim.second_order.muon import muon, orthogonalize
from funcnet.optim.second_order.shampoo import shampoo
from funcnet.optim.second_order.soap import soap
from funcnet.optim.second_order.sophia import sophia
from funcnet.optim.wrappers.accumulate import AccumulateState, accumulate
from funcnet.optim.wrappers.average import AverageState, average
from funcnet.optim.wrappers.finite import all_finite
from funcnet.optim.wrappers.freeze import freeze
from funcnet.optim.wrappers.groups import Groups, frozen, groups
from funcnet.optim.wrappers.keep_masked import MaskedState, keep_masked
from funcnet.optim.wrappers.lookahead import LookaheadState, lookahead
from funcnet.optim.wrappers.loss_scale import LossScaleState, loss_scale, scale_loss
from funcnet.optim.wrappers.mask import mask
from funcnet.optim.wrappers.master_copy import MasterState, master_copy
from funcnet.optim.wrappers.packed import PackedState, packed
from funcnet.optim.wrappers.skip_nonfinite import SkipState, skip_nonfinite

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
    "MaskedState",
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
    "keep_masked",
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
