"""mixed_precision: a model that keeps its parameters in 32 bits and computes in 16."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast, get_args

import jax.numpy as jnp

from funcnet.core.aliases import DType
from funcnet.core.errors import ModuleDefinitionError
from funcnet.core.paths import matches, select
from funcnet.module.functionalize import Functional
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.precision.policy import ComputesIn, PrecisionPolicy

__all__ = ["mixed_precision"]

Keep = str | type[Module] | Callable[[str, Module], bool]
"""A glob on dotted paths, a class of layers, or a function of path and layer."""


def mixed_precision(
    net: Functional,
    compute: DType = jnp.bfloat16,
    keep: Keep | Iterable[Keep] = (),
    outputs: DType | None = jnp.float32,
) -> Functional:
    """Return a model that computes in 16 bits, from the same params and state in 32.

    ``init`` returns what it returned, gradients are of the parameters in 32 bits, and so are optimizer and
    checkpoint: the two models share them. In a call

    - parameters are rounded once, as the call begins; on a mesh before they are gathered, which moves half the
      bytes. A part that is taken out by `unbind` has them in 32 bits, and rounds them where it is called, so that
      steps of a loop which share them (`nn.Scan`) sum their gradients in 32 bits;
    - floats that enter a module are rounded, so that what the model's own code widens (``x + self.table``) is
      narrow again in the next layer; `summary` shows where that happens, and JAX refuses it where
      ``jax_numpy_dtype_promotion`` is ``"strict"``;
    - what a layer adds to that is in the table (`Module.computes_in`);
    - what ``keep`` names computes in 32 bits, with all that lies in it, and what it returns is rounded;
    - buffers stay as they are. So do integers, keys, complex numbers, and floats of 8 bits.

    ==========================================  ==================  ==================  ==========================
    layers                                      parameters          computed in         returned
    ==========================================  ==================  ==================  ==========================
    linear, convolutions, attention, recurrent  16 bits             products of 16      16 bits
                                                                    bits, sums of 32
    embeddings                                  16 bits             looked up           16 bits
    activations, pooling, dropout, resizing     16 bits             32 bits             16 bits
    softmax and its like                        none                32 bits             16 bits
    normalization                               32 bits             32 bits             as given: 16 bits
    losses, with the layers that they own       32 bits             32 bits             32 bits
    what ``keep`` names                         32 bits             32 bits             16 bits
    ==========================================  ==================  ==================  ==========================

    A value that was rounded and is handed on as it is is not rounded where 32 bits are asked for: a module that is
    kept sees the model's own input in full, and what it returns leaves the model in full.

    Args:
        net: what `functionalize` or `parallel.shard` returned, also for the other way round.
        compute: ``jnp.bfloat16``; or ``jnp.float16``, whose gradients need a scale: `training.dynamic_loss_scale`.
        keep: what stays in 32 bits besides, one or several: globs on dotted paths of modules or parameters, where
            ``*`` also crosses dots; classes of layers; functions ``(path, layer) -> bool``. Name here the module that
            takes a floating input which must not be rounded, such as a time; and a parameter that the model's own
            code spreads over a batch (``x + self.table``), because its gradient is a sum in its own dtype.
        outputs: the dtype of the floats that the model returns, float32, so that losses outside of it are computed
            in 32 bits: a loss has the dtype of its inputs. (PyTorch's ``autocast`` returns 16 bits, and widens in its
            own losses instead.) None leaves them as they are.

    Returns:
        ``Functional(init, apply)``: capture, intervene, partition, transform, shard and export it as the model.

    Raises:
        TypeError: ``net`` is not a `Functional`; ``compute`` is no float of 16 bits.
        ValueError: a pattern or class of ``keep`` matches nothing, or some layers of a stack alone; the model
            computes in 16 bits already, or is a part of a bound one.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)))
        >>> net16 = fn.mixed_precision(net)
        >>> params, state = net16.init(jax.random.key(0))
        >>> (output, seen), _ = fn.capture(net16, "*").apply(params, state, jnp.ones((5, 3)))
        >>> output.dtype.name, {path: value.dtype.name for path, value in seen.items()}
        ('float32', {'0': 'bfloat16', '1': 'bfloat16', '2': 'bfloat16'})
        >>> grads = fn.grad(lambda p: net16.apply(p, state, jnp.ones((5, 3)))[0].sum())(params)
        >>> grads["0"]["weight"].dtype.name
        'float32'

    Reference: Micikevicius et al., "Mixed Precision Training", ICLR 2018; ``torch.autocast``
    """
    if not isinstance(net, Functional):
        raise TypeError(
            f"mixed_precision takes net = fn.functionalize(module) first; got {type(net).__name__}"
        )
    pure = net.observable
    if pure.precision is not None:
        raise ValueError(
            f"the model computes in {pure.precision.compute.name} already: call mixed_precision once, on what "
            "fn.functionalize returned"
        )
    if pure.around is not None:
        raise ValueError(
            "mixed_precision takes a whole model: this is a part of a bound one, which computes as the whole does"
        )
    layout = pure.node.layout
    chosen = (keep,) if isinstance(keep, str) or callable(keep) else tuple(keep)
    modules = _modules(layout, chosen)
    arrays = _arrays(layout, modules, chosen)
    precision = PrecisionPolicy(
        _narrow_dtype(compute),
        None if outputs is None else _output_dtype(outputs),
        modules,
        arrays,
    )
    return net._replace(apply=replace(pure, precision=precision).apply)


def _narrow_dtype(compute: Any) -> Any:
    try:
        dtype = jnp.dtype(compute)
    except TypeError:
        dtype = None
    if dtype is not None and dtype.itemsize == 2 and jnp.issubdtype(dtype, jnp.floating):
        return dtype
    shown = repr(compute) if dtype is None else dtype.name
    hint = ": a model computes in float32 as it is" if shown == "float32" else ""
    raise TypeError(
        f"compute must be a float of 16 bits, jnp.bfloat16 or jnp.float16; got {shown}{hint}"
    )


def _output_dtype(outputs: Any) -> Any:
    dtype = jnp.dtype(outputs)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"outputs must be the dtype of floats, such as jnp.float32 or jnp.bfloat16, or None; got {dtype.name}"
        )
    return dtype


def _modules(layout: Layout, keep: tuple[Any, ...]) -> dict[str, ComputesIn]:
    """Return the modules that do not compute in 16 bits alone."""
    chosen = {path for item in keep for path in _chosen_modules(layout, item)}
    found = _inherited(layout, chosen)
    tied = _tied_to(layout, found)
    while tied:  # an array has one dtype: who shares it computes in it too
        chosen |= tied
        found = _inherited(layout, chosen)
        tied = _tied_to(layout, found)
    return found


def _inherited(layout: Layout, chosen: set[str]) -> dict[str, ComputesIn]:
    """Return what each module says of itself, or is chosen for, and what lies within it with it."""
    found: dict[str, ComputesIn] = {}
    for path, module in layout.modules.items():
        own = module.computes_in
        if own not in get_args(ComputesIn):
            raise ModuleDefinitionError(
                f"{path or type(module).__name__}.computes_in must be one of "
                f"{', '.join(map(repr, get_args(ComputesIn)))}; got {own!r}"
            )
        above = found.get(layout.owner(path), "any") if path else "any"
        if own == "any" or (own == "float32" and above != "any"):
            inner = above if above == "float32 arrays" else "float32 result"
            own = inner if above != "any" else "float32" if path in chosen else "any"
        if own != "any":
            found[path] = own
    return found


def _tied_to(layout: Layout, found: dict[str, ComputesIn]) -> set[str]:
    """Return the layers that share an array with one that keeps it in 32 bits."""
    holders = {layout.owner(path) for path in layout.modules if path}
    tied: set[str] = set()
    for spec in layout.parameters.values():
        owners = {layout.first_path[node] for node, _ in layout.owners.get(id(spec), ())}
        if owners & found.keys():
            tied |= owners - found.keys() - holders
    return tied


def _chosen_modules(layout: Layout, item: Any) -> set[str]:
    """Return the modules that a pattern or a class stands for."""
    if inspect.isclass(item) and issubclass(item, Module):
        found = {path for path, module in layout.modules.items() if isinstance(module, item)}
        if not found:
            kinds = sorted({type(module).__name__ for module in layout.modules.values()})
            raise ValueError(f"keep names {item.__name__}, but there are only {', '.join(kinds)}")
        return found
    if callable(item):
        return _answered(layout, cast(Callable[[str, Module], Any], item))
    if not isinstance(item, str):
        raise TypeError(
            "keep takes globs on dotted paths, such as '*.head', classes of layers, and functions of a path and a "
            f"layer; got {item!r}"
        )
    found = {
        path
        for path, names in layout.module_names.items()
        if path and _matches(item, path, [names])
    }
    if not found and not _chosen_arrays(layout, item):
        select(item, [path for path in (*layout.modules, *layout.parameters) if path])
    return found


def _answered(layout: Layout, function: Callable[[str, Module], Any]) -> set[str]:
    """Return the modules for which a function says yes."""
    answers: dict[str, Any] = {
        path: function(path, module) for path, module in layout.modules.items()
    }
    for path, answer in answers.items():
        if answer is not True and answer is not False:
            raise TypeError(
                f"a function for keep returns True or False; got {answer!r} for {path!r}"
            )
    found = {path for path, answer in answers.items() if answer}
    if not found:
        kinds = sorted({type(module).__name__ for module in layout.modules.values()})
        raise ValueError(
            f"the function given as keep chose none of {len(answers)} modules: it is called with a path, such as "
            f"{max(answers, key=len)!r}, and a layer; there are {', '.join(kinds)}"
        )
    return found


def _chosen_arrays(layout: Layout, pattern: str) -> set[str]:
    return {path for path in layout.parameters if _matches(pattern, path, layout.names[path])}


def _matches(pattern: str, path: str, names: Iterable[tuple[str, ...]]) -> bool:
    """Say whether a pattern matches a path, or all names of a stack."""
    if matches(pattern, path):
        return True
    for stacked in names:
        found = [name for name in stacked if matches(pattern, name)]
        if found and len(found) < len(stacked):
            raise ValueError(
                f"keep names {found[0]!r}, but the layers of a stack compute together: name them all, as {path!r}"
            )
        if found:
            return True
    return False


def _arrays(layout: Layout, modules: dict[str, ComputesIn], keep: Any) -> frozenset[str]:
    """Return the parameters that stay as they are: those of such modules, and those that a pattern names."""
    patterns = [item for item in keep if isinstance(item, str)]
    found = {path for pattern in patterns for path in _chosen_arrays(layout, pattern)}
    for path, spec in layout.parameters.items():
        owners = {layout.first_path[node] for node, _ in layout.owners.get(id(spec), ())}
        if ({layout.owner(path)} | owners) & modules.keys():
            found.add(path)
    return frozenset(found)
