"""Stateless mathematics on arrays, one family a file, with PyTorch's names and numbers."""

from funcnet.functional.activations import *
from funcnet.functional.activations_smooth import *
from funcnet.functional.activations_softmax import *
from funcnet.functional.attention import *
from funcnet.functional.batch_norm import *
from funcnet.functional.convolution import *
from funcnet.functional.convolution_transpose import *
from funcnet.functional.distance import *
from funcnet.functional.dropout import *
from funcnet.functional.embedding import *
from funcnet.functional.folding import *
from funcnet.functional.linear import *
from funcnet.functional.losses_binary import *
from funcnet.functional.losses_classification import *
from funcnet.functional.losses_margin import *
from funcnet.functional.losses_regression import *
from funcnet.functional.multi_head_attention import *
from funcnet.functional.normalization import *
from funcnet.functional.padding import *
from funcnet.functional.pooling_average import *
from funcnet.functional.pooling_fractional import *
from funcnet.functional.pooling_lp import *
from funcnet.functional.pooling_max import *
from funcnet.functional.pooling_unpool import *
from funcnet.functional.recurrent import *
from funcnet.functional.response_norm import *
