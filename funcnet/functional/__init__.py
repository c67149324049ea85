"""Stateless mathematics on arrays, one family a file, with PyTorch's names and numbers."""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes as _package_attributes
from funcnet.core.torch_hints import public_names as _public_names
from funcnet.functional.activations.exponential import *
from funcnet.functional.activations.gated import *
from funcnet.functional.activations.hard import *
from funcnet.functional.activations.rectified import *
from funcnet.functional.activations.shrinkage import *
from funcnet.functional.activations.sigmoid import *
from funcnet.functional.activations.softmax import *
from funcnet.functional.attention.block_mask import *
from funcnet.functional.attention.dot_product import *
from funcnet.functional.attention.flex import *
from funcnet.functional.attention.modifiers import *
from funcnet.functional.attention.multi_head import *
from funcnet.functional.attention.rotary import *
from funcnet.functional.convolution.plain import *
from funcnet.functional.convolution.transposed import *
from funcnet.functional.distance import *
from funcnet.functional.dropout import *
from funcnet.functional.embedding import *
from funcnet.functional.experts import *
from funcnet.functional.images.folding import *
from funcnet.functional.images.grid_sampling import *
from funcnet.functional.images.interpolation import *
from funcnet.functional.images.padding import *
from funcnet.functional.images.shuffling import *
from funcnet.functional.linear import *
from funcnet.functional.losses.binary import *
from funcnet.functional.losses.cross_entropy import *
from funcnet.functional.losses.ctc import *
from funcnet.functional.losses.embedding import *
from funcnet.functional.losses.likelihood import *
from funcnet.functional.losses.linear_cross_entropy import *
from funcnet.functional.losses.margin import *
from funcnet.functional.losses.regression import *
from funcnet.functional.losses.triplet import *
from funcnet.functional.normalization.batch import *
from funcnet.functional.normalization.group import *
from funcnet.functional.normalization.instance import *
from funcnet.functional.normalization.layer import *
from funcnet.functional.normalization.local_response import *
from funcnet.functional.normalization.normalize import *
from funcnet.functional.pooling.average import *
from funcnet.functional.pooling.fractional import *
from funcnet.functional.pooling.lp import *
from funcnet.functional.pooling.max import *
from funcnet.functional.pooling.unpool import *
from funcnet.functional.quantization.affine import *
from funcnet.functional.quantization.fake import *
from funcnet.functional.quantization.float8 import *
from funcnet.functional.quantization.integer_products import *
from funcnet.functional.quantization.normal_float import *
from funcnet.functional.quantization.packing import *
from funcnet.functional.recurrent.cells import *
from funcnet.functional.recurrent.layers import *
from funcnet.functional.regularization.drop_block import *
from funcnet.functional.regularization.label_smoothing import *
from funcnet.functional.regularization.penalties import *
from funcnet.functional.regularization.stochastic_depth import *
from funcnet.functional.sequences.masks import *
from funcnet.functional.sequences.segments import *

if not _TYPE_CHECKING:  # a type checker should go on to report names that are missing
    _names = _public_names(_sys.modules[__name__])
    __getattr__, __dir__ = _package_attributes(__name__, _names)
