"""Function in, function out, on any pytree: JAX's transforms, and what their users ask for.

Each is JAX's function of that name and composes with every other and with ``jax.*``. One rule is
funcnet's own: an integer, a boolean or a random key is a constant, and where a derivative with
respect to it is asked for, the answer is zeros of its own shape and type.
"""

from funcnet.transforms.compilation import jit
from funcnet.transforms.curvature import hvp, vhp
from funcnet.transforms.directional import jvp, linearize, vjp
from funcnet.transforms.ensembles import Ensemble, ensemble, stack, unstack
from funcnet.transforms.gradients import grad, value_and_grad
from funcnet.transforms.jacobians import hessian, jacfwd, jacrev
from funcnet.transforms.mapping import chunked, vmap
from funcnet.transforms.memory import checkpoint, checkpoint_name, saving_policy
from funcnet.transforms.nonfinite import Blame, Site, nan_guard
from funcnet.transforms.partition import merge, partition
from funcnet.transforms.scanning import scan

__all__ = [
    "Blame",
    "Ensemble",
    "Site",
    "checkpoint",
    "checkpoint_name",
    "chunked",
    "ensemble",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "merge",
    "nan_guard",
    "partition",
    "saving_policy",
    "scan",
    "stack",
    "unstack",
    "value_and_grad",
    "vhp",
    "vjp",
    "vmap",
]
