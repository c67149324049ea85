"""quantize: a model whose weights are in few bits, and back."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp

from funcnet.compression.quantization.fake import FakeQuantized
from funcnet.compression.quantization.quantized import (
    Quantized,
    QuantizedArray,
    decoder,
    encoder,
    with_quantized,
)
from funcnet.compression.quantization.schemes import Int8, Scheme
from funcnet.core.aliases import Array, Params, State
from funcnet.core.paths import join, matches
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of, replaced
from funcnet.module.rewriting.derived_layers import class_before
from funcnet.module.rewriting.parts import arrays_by_path, chosen_layers, trees_of
from funcnet.module.specs import is_spec
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.convolution.base import FilterLayer
from funcnet.nn.convolution.transposed import ConvTransposeBase
from funcnet.nn.embedding import Embedding, EmbeddingBag
from funcnet.nn.linear import Bilinear, Linear
from funcnet.nn.recurrent.cells import RNNCellBase
from funcnet.nn.recurrent.layers import RNNBase
from funcnet.nn.wrappers.lora import LoRA

__all__ = ["dequantize", "quantize", "quantized"]

ModuleT = TypeVar("ModuleT", bound=Module)

LAYERS = (
    Linear,
    Bilinear,
    FilterLayer,
    Embedding,
    EmbeddingBag,
    MultiheadAttention,
    RNNBase,
    RNNCellBase,
)
"""The layers whose weights are quantized unless others are named."""


def quantize(
    module: ModuleT,
    params: Params,
    state: State,
    scheme: Scheme | None = None,
    patterns: str | Iterable[str] = "*",
    *,
    kinds: type[Module] | tuple[type[Module], ...] = LAYERS,
    arrays: str | Iterable[str] = "*weight*",
) -> tuple[ModuleT, Params, State]:
    """Return a model whose weights are in few bits: a quarter of the bytes, or an eighth.

    A weight of a layer moves from the params to the state, as the buffers ``0.weight.values`` and ``0.weight.scales``
    (and what else the scheme writes); biases, norms and all else stay as they are. The layers compute with the
    weights' nearest values, which are read from the few bits in each call. The new model is trained, saved, loaded,
    exported, put on a mesh or given to `nn.lora` as any other; the old one is not touched.

    Memory: params, state and files are as small as the table of `summary` says. While a compiled call runs it also
    holds floats that it has read: in `nn.Repeat` those of one layer, whereas XLA on CPUs reads the weights of layers
    that are written one after the other all at once.

    Args:
        module: a description.
        params: its parameters.
        state: its buffers.
        scheme: `Int8`, the default, `Int4` or `NF4`. Along ``axis=0`` of a scheme lie the output channels of a weight;
            for transposed convolutions it is read as ``axis=1``.
        patterns: globs on the dotted paths of layers.
        kinds: classes of layers: by default linear and bilinear layers, convolutions, embeddings, multi-head
            attention and recurrent layers.
        arrays: globs on the names of their arrays. Only floats of two axes at least are quantized.

    Returns:
        The new description, params and state.

    Raises:
        ValueError: a pattern matches no layer; a layer is quantized or adapted already, waits for its shape, has its
            weight computed by a parametrization, or shares it with a layer that was not chosen; a weight holds NaN
            or infinities.
        ParameterTreeError: the trees are not those of the module.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, few, kept = fn.compression.quantize(model, params, state)
        >>> list(fn.state_dict(small, few, kept))[:3]
        ['0.weight.values', '0.weight.scales', '0.bias']
        >>> before = fn.functionalize(model).apply(params, state, jnp.ones(64))[0]
        >>> after = fn.functionalize(small).apply(few, kept, jnp.ones(64))[0]
        >>> bool(jnp.abs(after - before).max() < 0.01)
        True

    Reference: ``torch.ao.quantization``; Dettmers et al., LLM.int8(), 2022, https://arxiv.org/abs/2208.07339.
    """
    layout_of(module)  # which says what to write where a Functional is given
    module = describe(module)
    old = arrays_by_path(module, params, state)
    made, found = _rewritten(module, scheme, patterns, kinds, arrays, old)
    depths = {path: len(sizes) for path, sizes in layout_of(module).sizes.items()}
    new: dict[str, Array] = {}
    for path, array in old.items():
        if path not in found:
            new[path] = array
            continue
        parts = encoder(found[path].scheme, depths[path])(jnp.asarray(array))
        _check_finite(path, array, parts)
        new |= {join(path, name): part for name, part in parts.items()}
    return (made, *trees_of(made, new))


def quantized(
    module: ModuleT,
    scheme: Scheme | None = None,
    patterns: str | Iterable[str] = "*",
    *,
    kinds: type[Module] | tuple[type[Module], ...] = LAYERS,
    arrays: str | Iterable[str] = "*weight*",
) -> ModuleT:
    """Return the description of a quantized model, without arrays: to load a file of one into.

    Args:
        module: a description.
        scheme: as of `quantize`.
        patterns: as of `quantize`.
        kinds: as of `quantize`.
        arrays: as of `quantize`.

    Returns:
        The description that `quantize` returns with the same arguments. Drawn by ``init`` it starts at the nearest
        values of what the module would draw.

    Raises:
        ValueError: as `quantize`.

    Example:
        >>> model = fn.compression.quantized(nn.Linear(64, 10), fn.compression.Int4())
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> {name: array.dtype.name for name, array in state["weight"].items()}
        {'values': 'uint8', 'scales': 'float32', 'zero_points': 'uint8'}
    """
    return _rewritten(describe(module), scheme, patterns, kinds, arrays)[0]


def dequantize(
    module: ModuleT, params: Params, state: State, patterns: str | Iterable[str] = "*"
) -> tuple[ModuleT, Params, State]:
    """Return a quantized model with its weights as floats again: those that it computed with.

    Args:
        module: what `quantize` returned, or a model that contains it.
        params: its parameters.
        state: its buffers.
        patterns: globs on the dotted paths of layers.

    Returns:
        The description, params and state of a model without quantized layers, which computes the same.

    Raises:
        ValueError: a pattern matches no quantized layer, or a layer shares its weight with one that was not chosen.

    Example:
        >>> model = nn.Linear(64, 10)
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small = fn.compression.quantize(model, params, state)
        >>> model, params, state = fn.compression.dequantize(*small)
        >>> params["weight"].dtype.name, state
        ('float32', {})
    """
    module = describe(module)
    if not any(isinstance(layer, Quantized) for layer in layout_of(module).modules.values()):
        raise ValueError(
            "dequantize takes what compression.quantize returned: no layer of this model has its weight in few bits"
        )
    chosen = chosen_layers(module, patterns, Quantized)
    layout = layout_of(module)
    old = arrays_by_path(module, params, state)
    held = {path: m for path, m in layout.modules.items() if isinstance(m, QuantizedArray)}
    inside = {id(vars(layer)[name]) for layer in chosen.values() for name in _held(layer)}
    check_shared(module, inside, {id(layer) for layer in chosen.values()})
    specs: dict[int, Any] = {}
    for path, array in held.items():
        if id(array) not in inside:
            continue
        parts = {name: old.pop(join(path, name)) for name in array.part_specs}
        depth = len(layout.module_sizes[path])
        old[path] = jax.jit(decoder(array.scheme, array.shape, array.dtype.name, depth))(parts)
        specs[id(array)] = array.restored()
    ids = {id(layer) for layer in chosen.values()}

    def restore(layer: Any, copied: Any) -> Any:
        if id(layer) not in ids:
            return copied
        made = object.__new__(class_before(type(layer)))
        back = {name: specs[id(vars(layer)[name])] for name in _held(layer)}
        vars(made).update(vars(copied) | back)
        return made

    made = replaced(module, restore)
    return (made, *trees_of(made, old))


# ---- what is chosen ------------------------------------------------------------------------------


def _rewritten(
    module: Any,
    scheme: Scheme | None,
    patterns: Any,
    kinds: Any,
    arrays: Any,
    values: Mapping[str, Array] = MappingProxyType({}),
) -> tuple[Any, dict[str, QuantizedArray]]:
    """Return the new description, and by the paths of weights what stands in their place."""
    scheme = _checked_scheme(scheme)
    layout = layout_of(module)
    layers = chosen_layers(module, patterns, kinds)
    globs = (arrays,) if isinstance(arrays, str) else tuple(arrays)
    names = {id(layer): _weights(layer, path, globs) for path, layer in layers.items()}
    names = {key: found for key, found in names.items() if found}
    specs = {id(vars(m)[name]) for m in layers.values() for name in names.get(id(m), ())}
    check_shared(module, specs, set(names))
    made: dict[int, QuantizedArray] = {}
    for path, layer in layers.items():
        for name in names.get(id(layer), ()):
            spec = vars(layer)[name]
            if not spec.complete:
                raise ValueError(
                    f"{join(path, name)} waits for its shape {spec.shape}: declare the layer with all sizes"
                )
            # arrays may have been cast since they were declared
            dtype = getattr(values.get(layout.first_path[id(spec)]), "dtype", None)
            made.setdefault(id(spec), QuantizedArray(_for_layer(scheme, layer), spec, dtype))

    def change(layer: Any, copied: Any) -> Any:
        found = names.get(id(layer))
        if not found:
            return copied
        return with_quantized(copied, {name: made[id(vars(layer)[name])] for name in found})

    return replaced(module, change), {layout.first_path[key]: array for key, array in made.items()}


def _checked_scheme(scheme: Any) -> Scheme:
    if scheme is None:
        return Int8()
    if not isinstance(scheme, Scheme):
        hint = f": write {scheme.__name__}()" if isinstance(scheme, type) else ""
        raise TypeError(
            f"scheme must be Int8(), Int4(), NF4() or another Scheme; got {scheme!r}{hint}"
        )
    return scheme


def _for_layer(scheme: Any, layer: Any) -> Scheme:
    """Count rows where a layer has its output channels."""
    if isinstance(layer, ConvTransposeBase) and getattr(scheme, "axis", None) == 0:
        return replace(scheme, axis=1)
    return scheme


def _weights(layer: Any, path: str, globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a layer's arrays that are to be quantized; refuse a layer where that cannot be."""
    where = path or type(layer).__name__
    if isinstance(layer, LoRA):
        raise ValueError(
            f"{where} is adapted by nn.lora: merge_lora first, or quantize the model before nn.lora"
        )
    if isinstance(layer, FakeQuantized):
        raise ValueError(
            f"{where} trains for few bits: compression.convert makes a model of few bits of it"
        )
    if isinstance(layer, Quantized):
        raise ValueError(
            f"{where} is quantized already: dequantize it first, or choose other layers by patterns"
        )
    found = tuple(name for name, value in vars(layer).items() if _is_weight(name, value, globs))
    if not found and "parametrizations" in vars(layer):
        raise ValueError(
            f"the weight of {where} is computed by a parametrization and cannot be quantized: fold it into the "
            "weight first (nn.utils.parametrize.remove_parametrizations), or choose other layers by patterns"
        )
    return found


def _is_weight(name: str, value: Any, globs: tuple[str, ...]) -> bool:
    return (
        is_spec(value)
        and len(value.shape) > 1
        and jnp.issubdtype(value.dtype, jnp.floating)
        and any(matches(glob, name) for glob in globs)
    )


def _held(layer: Any) -> list[str]:
    return [name for name, value in vars(layer).items() if isinstance(value, QuantizedArray)]


def check_shared(
    module: Any, inside: set[int], chosen: set[int], kinds: type | tuple[type, ...] = Module
) -> None:
    """Refuse a weight that a layer shares with one that was not chosen: it is one array, and stays one.

    Layers of other classes than ``kinds`` cannot be chosen.
    """
    for path, other in layout_of(module).modules.items():
        if id(other) in chosen:
            continue
        for name, value in vars(other).items():
            if id(value) in inside:
                also = f"choose {path or type(other).__name__} as well, or neither"
                kind = type(other).__name__
                never = f"leave that layer out by patterns (a {kind} keeps floats here), or use compression.quantize"
                raise ValueError(
                    f"{join(path, name)} is tied to the weight of a layer that was chosen, and one array cannot be "
                    f"both: {also if isinstance(other, kinds) else never}"
                )


def _check_finite(path: str, array: Any, parts: dict[str, Array]) -> None:
    """Refuse what no scale fits; while tracing nothing is known, and the group is read as NaN."""
    scales = [part for part in parts.values() if jnp.issubdtype(part.dtype, jnp.floating)]
    if any(isinstance(part, jax.core.Tracer) for part in scales):
        return
    if all(bool(jnp.isfinite(part).all()) for part in scales):
        return
    if bool(jnp.isfinite(array).all()):
        raise ValueError(
            f"{path} holds numbers whose scales exceed the scheme's scale_dtype: use float32"
        )
    raise ValueError(
        f"{path} holds NaN or infinities, for which there is no scale: find where they come from with "
        "fn.transforms.nan_guard, or load an earlier state"
    )
