"""Function in, function out, on any pytree: JAX's transforms, and what their users ask for.

Each is JAX's function of that name and composes with every other and with ``jax.*``. One rule is
funcnet's own: an integer, a boolean or a random key is a constant, and where a derivative with
respect to it is asked for, the answer is zeros of its own shape and type.
"""

from funcnet.transforms.compilation import jit
from funcnet.transforms.compilation_cache import compilation_cache
from funcnet.transforms.curvature import empirical_fisher_vp, fisher_vp, gauss_newton_vp, hvp, vhp
from funcnet.transforms.dependence import strict
from funcnet.transforms.directional import jvp, linearize, vjp
from funcnet.transforms.ensembles import Ensemble, ensemble, stack, unstack
from funcnet.transforms.estimates import hutchinson_diagonal, hutchinson_trace, laplacian
from funcnet.transforms.gradients import grad, value_and_grad
from funcnet.transforms.implicit import fixed_point, root
from funcnet.transforms.jacobians import hessian, jacfwd, jacrev
from funcnet.transforms.mapping import chunked, vmap
from funcnet.transforms.memory import checkpoint, checkpoint_name, saving_policy
from funcnet.transforms.nonfinite import Blame, Site, nan_guard
from funcnet.transforms.partition import merge, partition
from funcnet.transforms.per_example import (
    clipped_grad,
    per_example_grad,
    per_example_norms,
    private_grad,
)
from funcnet.transforms.rules import (
    custom_gradient,
    gradient_reversal,
    stop_gradient,
    straight_through,
)
from funcnet.transforms.scanning import scan
from funcnet.transforms.spectrum import Lanczos, lanczos, spectral_density, top_eigenvalues
from funcnet.transforms.tangent_kernel import ntk
from funcnet.transforms.verification import check_grads

__all__ = [
    "Blame",
    "Ensemble",
    "Lanczos",
    "Site",
    "check_grads",
    "checkpoint",
    "checkpoint_name",
    "chunked",
    "clipped_grad",
    "compilation_cache",
    "custom_gradient",
    "empirical_fisher_vp",
    "ensemble",
    "fisher_vp",
    "fixed_point",
    "gauss_newton_vp",
    "grad",
    "gradient_reversal",
    "hessian",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "lanczos",
    "laplacian",
    "linearize",
    "merge",
    "nan_guard",
    "ntk",
    "partition",
    "per_example_grad",
    "per_example_norms",
    "private_grad",
    "root",
    "saving_policy",
    "scan",
    "spectral_density",
    "stack",
    "stop_gradient",
    "straight_through",
    "strict",
    "top_eigenvalues",
    "unstack",
    "value_and_grad",
    "vhp",
    "vjp",
    "vmap",
]
