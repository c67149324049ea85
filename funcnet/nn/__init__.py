"""Layers: they own parameters and call the functions of `funcnet.functional`."""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes as _package_attributes
from funcnet.core.torch_hints import public_names as _public_names
from funcnet.module import Buffer as Buffer
from funcnet.module import Module as Module
from funcnet.module import Parameter as Parameter
from funcnet.nn import init as init
from funcnet.nn import utils as utils
from funcnet.nn.activations.exponential import *
from funcnet.nn.activations.gated import *
from funcnet.nn.activations.hard import *
from funcnet.nn.activations.rectified import *
from funcnet.nn.activations.shrinkage import *
from funcnet.nn.activations.sigmoid import *
from funcnet.nn.activations.softmax import *
from funcnet.nn.attention.grouped_query import *
from funcnet.nn.attention.key_value_cache import *
from funcnet.nn.attention.multi_head import *
from funcnet.nn.attention.rotary import *
from funcnet.nn.attention.transformer import *
from funcnet.nn.attention.transformer_decoder import *
from funcnet.nn.attention.transformer_encoder import *
from funcnet.nn.containers.module_dict import *
from funcnet.nn.containers.module_list import *
from funcnet.nn.containers.parameter_dict import *
from funcnet.nn.containers.parameter_list import *
from funcnet.nn.containers.sequential import *
from funcnet.nn.convolution.lazy import *
from funcnet.nn.convolution.plain import *
from funcnet.nn.convolution.transposed import *
from funcnet.nn.distance import *
from funcnet.nn.dropout import *
from funcnet.nn.embedding import *
from funcnet.nn.experts import *
from funcnet.nn.flatten import *
from funcnet.nn.identity import *
from funcnet.nn.images.folding import *
from funcnet.nn.images.interpolation import *
from funcnet.nn.images.padding import *
from funcnet.nn.images.shuffling import *
from funcnet.nn.linear import *
from funcnet.nn.losses.adaptive_softmax import *
from funcnet.nn.losses.binary import *
from funcnet.nn.losses.cross_entropy import *
from funcnet.nn.losses.ctc import *
from funcnet.nn.losses.embedding import *
from funcnet.nn.losses.likelihood import *
from funcnet.nn.losses.linear_cross_entropy import *
from funcnet.nn.losses.margin import *
from funcnet.nn.losses.regression import *
from funcnet.nn.losses.triplet import *
from funcnet.nn.normalization.batch import *
from funcnet.nn.normalization.group import *
from funcnet.nn.normalization.instance import *
from funcnet.nn.normalization.layer import *
from funcnet.nn.normalization.local_response import *
from funcnet.nn.pooling.average import *
from funcnet.nn.pooling.fractional import *
from funcnet.nn.pooling.lp import *
from funcnet.nn.pooling.max import *
from funcnet.nn.pooling.unpool import *
from funcnet.nn.recurrent.cells import *
from funcnet.nn.recurrent.layers import *
from funcnet.nn.regularization.drop_block import *
from funcnet.nn.regularization.stochastic_depth import *
from funcnet.nn.wrappers import parametrizations as parametrizations
from funcnet.nn.wrappers.lora import *
from funcnet.nn.wrappers.parametrizations import *
from funcnet.nn.wrappers.remat import *
from funcnet.nn.wrappers.repeat import *
from funcnet.nn.wrappers.scan import *
from funcnet.nn.wrappers.vmap import *

if not _TYPE_CHECKING:  # a type checker should go on to report names that are missing
    _names = _public_names(_sys.modules[__name__], ("init", "parametrizations", "utils"))
    __getattr__, __dir__ = _package_attributes(__name__, _names)
