"""What PyTorch's users look for in ``torch.nn.utils``: as functions that change nothing and return what is new."""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.nn.utils import fusion as fusion
from funcnet.nn.utils import parametrize as parametrize
from funcnet.nn.utils import rnn as rnn
from funcnet.nn.utils.fusion import (
    fuse_conv_bn,
    fuse_conv_bn_weights,
    fuse_linear_bn,
    fuse_linear_bn_weights,
)
from funcnet.nn.utils.norms import (
    clip_grad_norm,
    clip_grad_value,
    clip_grads_with_norm,
    get_total_norm,
    parameter_counts,
    parameter_norms,
)
from funcnet.nn.utils.vectors import parameters_to_vector, vector_to_parameters
from funcnet.nn.wrappers import parametrizations as parametrizations
from funcnet.nn.wrappers.remove_parametrizations import remove_spectral_norm, remove_weight_norm
from funcnet.nn.wrappers.spectral_norm import spectral_norm
from funcnet.nn.wrappers.weight_norm import weight_norm

__all__ = [
    "clip_grad_norm",
    "clip_grad_value",
    "clip_grads_with_norm",
    "fuse_conv_bn",
    "fuse_conv_bn_weights",
    "fuse_linear_bn",
    "fuse_linear_bn_weights",
    "fusion",
    "get_total_norm",
    "parameter_counts",
    "parameter_norms",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
