"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""

from funcnet.optim import schedules
from funcnet.optim.adams import adam, adamw, bias_correction
from funcnet.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from funcnet.optim.descent import sgd
from funcnet.optim.hyperparameters import (
    Hyperparameter,
    Hyperparameters,
    hyperparams,
    with_hyperparams,
)
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
from funcnet.optim.rule import Move, Rule, RuleState, from_rule
from funcnet.optim.scaling import add_decayed_weights, scale

__all__ = [
    "GradientTransformation",
    "Hyperparameter",
    "Hyperparameters",
    "Move",
    "Rule",
    "RuleState",
    "ShapedTransformation",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "bias_correction",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "from_rule",
    "global_norm",
    "hyperparams",
    "identity",
    "require_params",
    "scale",
    "schedules",
    "sgd",
    "stateless",
    "with_extra",
    "with_hyperparams",
    "zeros_slot",
]
