"""Batch norms folded into the layers before them, for evaluation."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax

from funcnet.core.aliases import Array, Params, State
from funcnet.core.dtypes import at_least_float32, widest
from funcnet.core.paths import join
from funcnet.core.torch_hints import package_attributes
from funcnet.module import Functional, Module, Parameter
from funcnet.module.description import layout_of, replaced
from funcnet.module.layout import Layout
from funcnet.module.rewriting.parts import arrays_by_path, description_of, trees_of
from funcnet.module.specs import Spec
from funcnet.nn import init
from funcnet.nn.convolution.base import FilterLayer
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.identity import Identity
from funcnet.nn.linear import Linear
from funcnet.nn.utils.fusible_pairs import Pair, fusible_pairs

__all__ = ["fuse_conv_bn", "fuse_conv_bn_weights", "fuse_linear_bn", "fuse_linear_bn_weights"]


def fuse_conv_bn(
    module: Module | Functional,
    params: Params,
    state: State,
    pairs: Iterable[tuple[str, str]] = (),
    patterns: str | Iterable[str] = "*",
) -> tuple[Module, Params, State]:
    """Fold each batch norm that follows a convolution into the convolution, for evaluation.

    A norm that directly follows a convolution in an `nn.Sequential` is found; where a model calls them by
    itself, their names say which belong together:

        module, params, state = nn.utils.fuse_conv_bn(module, params, state, pairs=[("conv1", "bn1")])

    Each norm becomes `nn.Identity`, so that all other arrays keep their names, and its convolution has a bias.

    Args:
        module: a description; plain and transposed convolutions of one to three dimensions, with any groups.
        params: its parameters.
        state: its buffers, in which the running statistics are.
        pairs: names of a convolution and of the norm that is called with its output and nothing else; in every
            module that has both. Dotted names lead further down.
        patterns: globs on the paths of the convolutions to choose from.

    Returns:
        The new description, its parameters and its state: their outputs in evaluation are those of the model
        given, up to rounding.

    Raises:
        ValueError: nothing to fuse; a norm without running statistics; a convolution or a norm that is used
            elsewhere too, or shares an array; channels that do not fit.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        >>> fused, params, state = nn.utils.fuse_conv_bn(model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> fused[1], sorted(params["0"]), state
        (Identity(), ['bias', 'weight'], {})

    Reference: ``torch.nn.utils.fusion.fuse_conv_bn_eval``; Jacob et al., Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference, 2017, https://arxiv.org/abs/1712.05877, section 3.2.
    """
    return _fused(module, params, state, FilterLayer, pairs, patterns)


def fuse_linear_bn(
    module: Module | Functional,
    params: Params,
    state: State,
    pairs: Iterable[tuple[str, str]] = (),
    patterns: str | Iterable[str] = "*",
) -> tuple[Module, Params, State]:
    """Fold each batch norm that follows a linear layer into that layer, for evaluation.

    As `fuse_conv_bn`. The norm's channels must be the layer's features, as they are for inputs ``(N, features)``;
    for ``(N, L, features)`` that takes a norm with ``channels_last=True``.

    Args:
        module: a description.
        params: its parameters.
        state: its buffers, in which the running statistics are.
        pairs: names of a linear layer and of the norm that is called with its output and nothing else.
        patterns: globs on the paths of the linear layers to choose from.

    Returns:
        The new description, its parameters and its state.

    Raises:
        ValueError: as `fuse_conv_bn`.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU())
        >>> fused, params, state = nn.utils.fuse_linear_bn(model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> fused[1], state
        (Identity(), {})

    Reference: ``torch.nn.utils.fusion.fuse_linear_bn_eval``.
    """
    return _fused(module, params, state, Linear, pairs, patterns)


def fuse_conv_bn_weights(
    conv_w: Array,
    conv_b: Array | None,
    bn_rm: Array,
    bn_rv: Array,
    bn_eps: float,
    bn_w: Array | None = None,
    bn_b: Array | None = None,
    transpose: bool = False,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Fold the arrays of a batch norm into those of a convolution.

    ``weight = w / sqrt(running_var + eps) * conv_w`` for each output channel, and
    ``bias = (conv_b - running_mean) * w / sqrt(running_var + eps) + b``.

    Args:
        conv_w: the convolution's weight.
        conv_b: its bias, or None.
        bn_rm: the running mean.
        bn_rv: the running variance.
        bn_eps: what is added to the variance.
        bn_w: the norm's weight, or None.
        bn_b: the norm's bias, or None.
        transpose: whether the convolution is a transposed one, ``(C_in, C_out / groups, ...)``.
        groups: of a transposed convolution; the others need not say.

    Returns:
        The weight and the bias, of the dtypes that the convolution has; computed in 32 bits at least.

    Example:
        >>> one = jnp.ones(1)
        >>> weight, bias = nn.utils.fuse_conv_bn_weights(jnp.ones((1, 1, 3)), None, one, 3 * one, 1.0)
        >>> weight.ravel().tolist(), bias.tolist()
        ([0.5, 0.5, 0.5], [-0.5])

    Reference: ``torch.nn.utils.fusion.fuse_conv_bn_weights``.
    """
    dtype = widest(*(at_least_float32(x.dtype) for x in (conv_w, bn_rv)))
    scale, bias = _scale_and_bias(dtype, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    wide = conv_w.astype(scale.dtype)
    if transpose:  # (groups, C_in / groups, C_out / groups, ...)
        grouped = wide.reshape(groups, -1, *wide.shape[1:])
        scaled = grouped * scale.reshape(groups, 1, -1, *(1,) * (wide.ndim - 2))
    else:
        scaled = wide * scale.reshape(-1, *(1,) * (wide.ndim - 1))
    kept = conv_w.dtype if conv_b is None else conv_b.dtype
    return scaled.reshape(wide.shape).astype(conv_w.dtype), bias.astype(kept)


def fuse_linear_bn_weights(
    linear_w: Array,
    linear_b: Array | None,
    bn_rm: Array,
    bn_rv: Array,
    bn_eps: float,
    bn_w: Array | None = None,
    bn_b: Array | None = None,
) -> tuple[Array, Array]:
    """Fold the arrays of a batch norm into those of a linear layer, as `fuse_conv_bn_weights` does.

    ``weight = w / sqrt(running_var + eps) * linear_w`` for each output, and
    ``bias = (linear_b - running_mean) * w / sqrt(running_var + eps) + b``.

    Args:
        linear_w: the layer's weight.
        linear_b: its bias, or None.
        bn_rm: the running mean.
        bn_rv: the running variance.
        bn_eps: what is added to the variance.
        bn_w: the norm's weight, or None.
        bn_b: the norm's bias, or None.

    Returns:
        The weight and the bias.

    Example:
        >>> one = jnp.ones(1)
        >>> nn.utils.fuse_linear_bn_weights(jnp.ones((1, 2)), one, one, 3 * one, 1.0)[1].tolist()
        [0.0]

    Reference: ``torch.nn.utils.fusion.fuse_linear_bn_weights``.
    """
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _scale_and_bias(
    wide: Any,
    bias: Array | None,
    mean: Array,
    var: Array,
    eps: float,
    weight: Array | None,
    offset: Array | None,
) -> tuple[Array, Array]:
    scale = jax.lax.rsqrt(var.astype(wide) + eps)
    if weight is not None:
        scale = scale * weight.astype(wide)
    start = -mean.astype(wide) if bias is None else bias.astype(wide) - mean.astype(wide)
    return scale, start * scale + (0 if offset is None else offset.astype(wide))


def _fused(
    module: Module | Functional,
    params: Params,
    state: State,
    kind: type,
    pairs: Iterable[tuple[str, str]],
    patterns: str | Iterable[str],
) -> tuple[Module, Params, State]:
    module = description_of(module)
    arrays = arrays_by_path(module, params, state)
    layout = layout_of(module)
    found = fusible_pairs(module, kind, pairs, patterns)
    for pair in found:
        arrays = _with_fused_arrays(arrays, layout, pair)
    norms = {id(pair.norm) for pair in found}
    layers = {id(pair.layer): pair for pair in found}

    def exchange(old: Module, new: Module) -> Module:
        if id(old) in layers:
            _give_bias(new, layers[id(old)])
        return Identity() if id(old) in norms else new

    rewritten = replaced(module, exchange)
    return rewritten, *trees_of(rewritten, arrays)


def _with_fused_arrays(arrays: Mapping[str, Array], layout: Layout, pair: Pair) -> dict[str, Array]:
    """Return all arrays, those of one layer fused, and without those of its norm."""
    layer, norm = pair.layer, pair.norm

    def own(of: Module, name: str) -> Array | None:
        spec = vars(of)[name]
        return arrays[layout.path_of(spec)] if isinstance(spec, Spec) else None

    transpose = isinstance(layer, ConvTransposeBase)

    def fuse(w: Any, b: Any, mean: Any, var: Any, weight: Any, offset: Any) -> tuple[Array, Array]:
        groups = layer.groups if isinstance(layer, ConvTransposeBase) else 1
        return fuse_conv_bn_weights(w, b, mean, var, norm.eps, weight, offset, transpose, groups)

    for _ in layout.module_sizes[pair.layer_path]:  # the leading axes of stacks
        fuse = jax.vmap(fuse)
    names = ("running_mean", "running_var", "weight", "bias")
    weight, bias = fuse(
        own(layer, "weight"), own(layer, "bias"), *(own(norm, name) for name in names)
    )
    gone = {path for path in arrays if path.startswith(f"{pair.norm_path}.")}
    kept = {path: array for path, array in arrays.items() if path not in gone}
    made = {"weight": weight, "bias": bias}
    return kept | {join(pair.layer_path, name): array for name, array in made.items()}


def _give_bias(copied: Module, pair: Pair) -> None:
    """Declare the bias of a layer that had none, beside its weight."""
    if vars(copied)["bias"] is None:
        shape = (pair.channels,)
        vars(copied)["bias"] = Parameter(shape, init.zeros(), vars(copied)["weight"].dtype)


if not TYPE_CHECKING:  # a type checker should go on to report names that are missing
    __getattr__, __dir__ = package_attributes(__name__, __all__)
