"""Functions that transform functions of any pytrees: JAX's transforms, and what their users ask for.

Each is JAX's function of that name and composes with every other and with ``jax.*``. One rule is
funcnet's own: an integer, a boolean or a random key is a constant, and where a derivative with
respect to it is asked for, the answer is zeros of its own shape and type.
"""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.transforms.compilation.cache import compilation_cache
from funcnet.transforms.compilation.jit import jit
from funcnet.transforms.compilation.keep_memory import keep_memory
from funcnet.transforms.compilation.remat import (
    checkpoint,
    checkpoint_name,
    remat,
    saving_policy,
)
from funcnet.transforms.curvature.eigenvalues import spectral_density, top_eigenvalues
from funcnet.transforms.curvature.fisher import empirical_fisher_vp, fisher_vp
from funcnet.transforms.curvature.gauss_newton import gauss_newton_vp
from funcnet.transforms.curvature.hessian import hessian
from funcnet.transforms.curvature.hutchinson import hutchinson_diagonal, hutchinson_trace
from funcnet.transforms.curvature.hvp import hvp, vhp
from funcnet.transforms.curvature.lanczos import Lanczos, lanczos
from funcnet.transforms.curvature.laplacian import laplacian
from funcnet.transforms.curvature.ntk import ntk
from funcnet.transforms.debugging.check_grads import check_grads
from funcnet.transforms.debugging.nan_guard import nan_guard
from funcnet.transforms.debugging.nan_report import Blame, Site
from funcnet.transforms.derivatives.custom_gradient import custom_gradient
from funcnet.transforms.derivatives.grad import grad, value_and_grad
from funcnet.transforms.derivatives.gradient_reversal import gradient_reversal
from funcnet.transforms.derivatives.jacobians import jacfwd, jacrev
from funcnet.transforms.derivatives.jvp import jvp, linearize
from funcnet.transforms.derivatives.roots_and_fixed_points import fixed_point, root
from funcnet.transforms.derivatives.stop_gradient import stop_gradient
from funcnet.transforms.derivatives.straight_through import straight_through
from funcnet.transforms.derivatives.strict import strict
from funcnet.transforms.derivatives.vjp import vjp
from funcnet.transforms.loops.chunked import chunked
from funcnet.transforms.loops.ensemble import Ensemble, ensemble
from funcnet.transforms.loops.scan import scan
from funcnet.transforms.loops.vmap import vmap
from funcnet.transforms.partition import merge, partition
from funcnet.transforms.per_example.clipped_grad import clipped_grad
from funcnet.transforms.per_example.gradient_penalty import gradient_penalty
from funcnet.transforms.per_example.gradients import per_example_grad
from funcnet.transforms.per_example.norms import per_example_norms
from funcnet.transforms.per_example.private_grad import private_grad
from funcnet.transforms.stack import stack, unstack

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
    "gradient_penalty",
    "gradient_reversal",
    "hessian",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "keep_memory",
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
    "remat",
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
