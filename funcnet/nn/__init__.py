"""Layers: they own parameters and call the functions of `funcnet.functional`."""

from funcnet.module import Buffer as Buffer
from funcnet.module import Module as Module
from funcnet.module import Parameter as Parameter
from funcnet.nn import init as init
from funcnet.nn import parametrizations as parametrizations
from funcnet.nn.activations import *
from funcnet.nn.activations_smooth import *
from funcnet.nn.activations_softmax import *
from funcnet.nn.attention import *
from funcnet.nn.batch_norm import *
from funcnet.nn.containers import *
from funcnet.nn.convolution import *
from funcnet.nn.convolution_lazy import *
from funcnet.nn.convolution_transpose import *
from funcnet.nn.distance import *
from funcnet.nn.dropout import *
from funcnet.nn.embedding import *
from funcnet.nn.experts import *
from funcnet.nn.folding import *
from funcnet.nn.grouped_attention import *
from funcnet.nn.instance_norm import *
from funcnet.nn.key_value_cache import *
from funcnet.nn.lifted import *
from funcnet.nn.linear import *
from funcnet.nn.losses_classification import *
from funcnet.nn.losses_linear import *
from funcnet.nn.losses_margin import *
from funcnet.nn.losses_regression import *
from funcnet.nn.losses_sequence import *
from funcnet.nn.low_rank import *
from funcnet.nn.normalization import *
from funcnet.nn.padding import *
from funcnet.nn.parametrizations import *
from funcnet.nn.pooling_average import *
from funcnet.nn.pooling_fractional import *
from funcnet.nn.pooling_lp import *
from funcnet.nn.pooling_max import *
from funcnet.nn.pooling_unpool import *
from funcnet.nn.recurrent import *
from funcnet.nn.recurrent_cells import *
from funcnet.nn.rotary import *
from funcnet.nn.transformer import *
from funcnet.nn.transformer_layers import *
from funcnet.nn.upsampling import *
from funcnet.nn.vision import *
