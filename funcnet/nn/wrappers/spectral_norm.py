"""A weight divided by its largest singular value."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.dtypes import at_least_float32
from funcnet.functional import normalize
from funcnet.module import Buffer, Module
from funcnet.module.specs import Spec, is_spec
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.init.derived import FromDraw, drawn_with
from funcnet.nn.wrappers.register_parametrization import (
    no_parameter_message,
    register_parametrization,
)

__all__ = ["spectral_norm"]

ModuleT = TypeVar("ModuleT", bound=Module)


def spectral_norm(
    module: ModuleT,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> ModuleT:
    """Divide a weight by its largest singular value, estimated by the power method: ``weight = W / (uᵀ W v)``.

    The weight is taken as a matrix whose rows lie along ``dim``. Each reading of it in training
    takes a few steps ``u = W v / ‖W v‖``, ``v = Wᵀ u / ‖Wᵀ u‖``, which are remembered in two buffers.

    Args:
        module: the layer; it is changed and returned.
        name: the name of the parameter.
        n_power_iterations: steps of the power method at each reading.
        eps: least length of a vector to divide by.
        dim: axis of the outputs: 0, but 1 for transposed convolutions.

    Returns:
        The layer, with the parameter ``parametrizations.weight.original`` and the buffers
        ``parametrizations.weight.0._u`` and ``_v``, which start near the singular vectors.

    Raises:
        ValueError: no parameter of that name, ``dim`` out of range, or no steps.

    Example:
        >>> layer = nn.parametrizations.spectral_norm(nn.Linear(20, 40))
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> weight = fn.bind(layer, params, state).weight
        >>> bool(abs(jnp.linalg.norm(weight, 2) - 1) < 0.1)
        True

    Reference: Miyato et al., Spectral Normalization for GANs, 2018,
    https://arxiv.org/abs/1802.05957; ``torch.nn.utils.parametrizations.spectral_norm``.
    """
    original = vars(module).get(name)
    if not is_spec(original):
        raise ValueError(no_parameter_message(module, name))
    if dim is None:
        dim = 1 if isinstance(module, ConvTransposeBase) else 0
    return register_parametrization(
        module, name, SpectralNorm(original, n_power_iterations, dim, eps)
    )


class SpectralNorm(Module):
    """``weight / σ``, where ``σ = uᵀ W v`` for the singular vectors that are remembered."""

    def __init__(self, original: Spec, n_power_iterations: int, dim: int, eps: float) -> None:
        axes = len(original.shape)
        if not -axes <= dim < axes:
            raise ValueError(f"dim must lie in [{-axes}, {axes - 1}]; got {dim}")
        if n_power_iterations <= 0:
            raise ValueError(f"n_power_iterations must be positive; got {n_power_iterations}")
        self.n_power_iterations = n_power_iterations
        self.dim = dim % axes
        self.eps = eps
        if axes > 1:
            abstract = jax.ShapeDtypeStruct(original.shape, original.dtype)
            sizes = jax.eval_shape(lambda weight: _as_matrix(weight, self.dim), abstract).shape
            starts = [
                FromDraw(
                    _singular_vector_of_draw, (self.dim, eps, side), original.init, original.shape
                )
                for side in range(2)
            ]
            self._u, self._v = (
                drawn_with(original, Buffer((size,), start, original.dtype))
                for size, start in zip(sizes, starts, strict=True)
            )

    def __call__(self, weight: Array) -> Array:
        """Divide the weight by its largest singular value."""
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        wide = weight.astype(at_least_float32(weight.dtype))
        matrix = _as_matrix(wide, self.dim)
        if self.training:
            v = self._v.astype(wide.dtype)
            u, v = _power_method(matrix, v, self.n_power_iterations, self.eps)
            self._u, self._v = u.astype(self._u.dtype), v.astype(self._v.dtype)
        u, v = self._u.astype(wide.dtype), self._v.astype(wide.dtype)
        return (wide / jnp.vdot(u, matrix @ v)).astype(weight.dtype)


def _as_matrix(weight: Array, dim: int) -> Array:
    front = jnp.moveaxis(weight, dim, 0)
    return front.reshape(front.shape[0], -1)


def _power_method(matrix: Array, v: Array, steps: int, eps: float) -> tuple[Array, Array]:
    """Return singular vectors, better by some steps; no gradient flows through them."""
    matrix, v = jax.lax.stop_gradient((matrix, v))
    u = v
    for _ in range(steps):
        u = normalize(matrix @ v, dim=0, eps=eps)
        v = normalize(matrix.T @ u, dim=0, eps=eps)
    return u, v


def _singular_vector_of_draw(key: Key, drawn: Array, dim: int, eps: float, side: int) -> Array:
    matrix = _as_matrix(drawn, dim)
    start = jax.random.normal(jax.random.fold_in(key, 1), matrix.shape[1:], matrix.dtype)
    return _power_method(matrix, normalize(start, dim=0, eps=eps), 15, eps)[side]
