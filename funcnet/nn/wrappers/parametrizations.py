"""Weight norm, spectral norm and orthogonal matrices, under the names of ``torch.nn.utils.parametrizations``."""

from funcnet.nn.wrappers.orthogonal import orthogonal
from funcnet.nn.wrappers.register_parametrization import register_parametrization
from funcnet.nn.wrappers.spectral_norm import spectral_norm
from funcnet.nn.wrappers.weight_norm import weight_norm

__all__ = ["orthogonal", "register_parametrization", "spectral_norm", "weight_norm"]
