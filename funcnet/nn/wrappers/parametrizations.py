"""Parametrizations: a layer's weight computed from other parameters each time it is read.

As in PyTorch, the layer is changed in place: the parameter moves to
``layer.parametrizations.weight.original`` and ``layer.weight`` becomes a property.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Initializer, Key
from funcnet.functional.normalization.normalize import normalize
from funcnet.module import Buffer, Module, Parameter
from funcnet.module.specs import Spec, is_spec
from funcnet.nn.convolution.transposed import ConvTransposeBase

__all__ = ["register_parametrization", "spectral_norm", "weight_norm"]

ModuleT = TypeVar("ModuleT", bound=Module)


class ParametrizationList(Module):
    """The original parameters of one attribute, and the modules that make its value of them."""

    def __init__(self, originals: dict[str, Any], parametrization: Module) -> None:
        for name, spec in originals.items():
            setattr(self, name, spec)
        self._originals = tuple(originals)
        self._count = 0
        self.append(parametrization)

    def append(self, parametrization: Module) -> None:
        """Apply one more parametrization to what the present ones make."""
        setattr(self, str(self._count), parametrization)
        self._count += 1

    def __call__(self) -> Array:
        """Compute the value."""
        value = getattr(self, "0")(*(getattr(self, name) for name in self._originals))
        for number in range(1, self._count):
            value = getattr(self, str(number))(value)
        return value


def register_parametrization(module: ModuleT, tensor_name: str, parametrization: Module) -> ModuleT:
    """Compute a parameter of a layer by a module each time that it is read.

    Several parametrizations of one parameter are applied one after the other.

    Args:
        module: the layer; it is changed and returned.
        tensor_name: the name of the parameter (or buffer).
        parametrization: a module whose call turns the original array into the one to use.

    Returns:
        The layer.

    Raises:
        ValueError: the layer has no parameter of that name.

    Example:
        >>> class Symmetric(nn.Module):
        ...     def __call__(self, x):
        ...         return jnp.triu(x) + jnp.triu(x, 1).T
        >>> layer = nn.parametrizations.register_parametrization(
        ...     nn.Linear(3, 3), "weight", Symmetric())
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> weight = fn.bind(layer, params, state).weight
        >>> bool((weight == weight.T).all())
        True

    Reference: ``torch.nn.utils.parametrize.register_parametrization``.
    """
    earlier = vars(module).get("parametrizations", {})
    if tensor_name in earlier:
        earlier[tensor_name].append(parametrization)
        return module
    return _register(module, {"original": _take(module, tensor_name)}, tensor_name, parametrization)


def weight_norm(module: ModuleT, name: str = "weight", dim: int | None = 0) -> ModuleT:
    """Learn a weight's length and direction apart: ``weight = g * v / ‖v‖``.

    Args:
        module: the layer; it is changed and returned.
        name: the name of the parameter.
        dim: each slice along this axis has a length of its own; ``None`` for one length in all.

    Returns:
        The layer, with the parameters ``parametrizations.weight.original0`` (``g``) and
        ``original1`` (``v``); ``g`` starts as the length of ``v``.

    Raises:
        ValueError: the layer has no parameter of that name.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(20, 40))
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> {name: value.shape for name, value in params["parametrizations"]["weight"].items()}
        {'original0': (40, 1), 'original1': (40, 20)}

    Reference: Salimans and Kingma, Weight Normalization, 2016, https://arxiv.org/abs/1602.07868;
    ``torch.nn.utils.parametrizations.weight_norm``.
    """
    direction = _take(module, name)
    dim = -1 if dim is None else dim
    abstract = jax.ShapeDtypeStruct(direction.shape, direction.dtype)
    shape = jax.eval_shape(lambda v: _length(v, dim), abstract).shape
    start = FromDraw(_length_of_draw, (dim,), direction.init, direction.shape)
    length = drawn_with(direction, Parameter(shape, start, direction.dtype))
    return _register(module, {"original0": length, "original1": direction}, name, WeightNorm(dim))


def spectral_norm(
    module: ModuleT,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> ModuleT:
    """Divide a weight by its largest singular value, estimated by the power method.

    The weight is taken as a matrix whose rows lie along ``dim``. Each reading of it in training
    takes a few steps of the power method, which are remembered in two buffers.

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
        raise ValueError(_no_parameter(module, name))
    if dim is None:
        dim = 1 if isinstance(module, ConvTransposeBase) else 0
    return register_parametrization(
        module, name, SpectralNorm(original, n_power_iterations, dim, eps)
    )


class WeightNorm(Module):
    """``g * v / ‖v‖``, the norm over all axes but one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, length: Array, direction: Array) -> Array:
        """Give the direction its length."""
        return direction * (length / _length(direction, self.dim))


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
        matrix = _as_matrix(weight, self.dim)
        if self.training:
            self._u, self._v = _power_method(matrix, self._v, self.n_power_iterations, self.eps)
        return weight / jnp.vdot(self._u, matrix @ self._v)


def drawn_with(source: Spec, spec: Any) -> Any:
    """Let an array's initializer be given the key of another, so that it can repeat that one's draw."""
    spec.drawn_with = source
    return spec


@dataclass(frozen=True)
class FromDraw:
    """An initializer that draws another array's initial values and computes its own from them.

    It has to be given that array's key: see `drawn_with`.
    """

    function: Any
    settings: tuple[Any, ...]
    source: Initializer
    shape: tuple[Any, ...]

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Compute the initial values."""
        drawn = self.source(key, self.shape, dtype)
        return self.function(key, drawn, *self.settings).reshape(shape)


def _length(direction: Array, dim: int) -> Array:
    """Return the norm over all axes but one, or over all for -1, as PyTorch has it."""
    axes = tuple(axis for axis in range(direction.ndim) if axis != dim % direction.ndim)
    squares = jnp.square(direction)
    return jnp.sqrt(squares.sum() if dim == -1 else squares.sum(axes, keepdims=True))


def _length_of_draw(key: Key, drawn: Array, dim: int) -> Array:
    del key
    return _length(drawn, dim)


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


def _take(module: Module, name: str) -> Spec:
    """Take a parameter out of a layer."""
    spec = vars(module).get(name)
    if not is_spec(spec):
        raise ValueError(_no_parameter(module, name))
    delattr(module, name)
    return spec


def _no_parameter(module: Module, name: str) -> str:
    there = ", ".join(key for key, value in vars(module).items() if is_spec(value))
    return f"{type(module).__name__} has no parameter {name!r}; it has: {there or 'none'}"


def _register(
    module: ModuleT, originals: dict[str, Any], name: str, parametrization: Module
) -> ModuleT:
    if "parametrizations" not in vars(module):
        module.parametrizations = {}  # pyright: ignore[reportAttributeAccessIssue]
    vars(module)["parametrizations"][name] = ParametrizationList(originals, parametrization)

    def read(self: Module) -> Array:
        return vars(self)["parametrizations"][name]()

    base = type(module)
    title = (
        base.__name__
        if base.__name__.startswith("Parametrized")
        else f"Parametrized{base.__name__}"
    )
    members = {name: property(read), "__module__": base.__module__, "__doc__": base.__doc__}
    module.__class__ = type(title, (base,), members)  # pyright: ignore[reportAttributeAccessIssue]
    return module
