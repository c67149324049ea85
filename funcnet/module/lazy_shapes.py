"""Shapes learned from an example: how `Lazy*` layers are completed.

A lazy layer declares ``None`` for a size it cannot know and defines
``infer_shapes(*args, **kwargs) -> {"weight": shape, ...}``. Where more than the shape is to be learned,
such as the range to draw from, it gives a whole `Parameter` or `Buffer` in place of the shape. The model
is called once on abstract arrays; each lazy layer is completed as its call begins. No memory is used and
nothing is computed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.errors import ModuleDefinitionError
from funcnet.module.binding import Binding, Scope, clone
from funcnet.module.description import Layout, layout_of
from funcnet.module.module import Module
from funcnet.module.specs import Spec, is_spec

__all__ = ["abstract_call", "learned_specs"]


def abstract_call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function on the shapes of its arguments; what is not an array is passed as it is.

    Arrays may be given as ``jax.ShapeDtypeStruct``.
    """
    leaves, tree = jax.tree.flatten((args, kwargs))
    dynamic = [
        i for i, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")
    ]

    def call(arrays: list[Any]) -> Any:
        filled = list(leaves)
        for i, array in zip(dynamic, arrays, strict=True):
            filled[i] = array
        full_args, full_kwargs = jax.tree.unflatten(tree, filled)
        return function(*full_args, **full_kwargs)

    return jax.eval_shape(call, [leaves[i] for i in dynamic])


def learned_specs(module: Module, method: str, args: Any, kwargs: Any) -> dict[str, Spec]:
    """Return the completed declarations of all arrays that were learned, by path.

    Raises:
        ModuleDefinitionError: no example was given, or the call never reached a lazy layer.
    """
    layout = layout_of(module)
    if not args and not kwargs:
        raise ModuleDefinitionError(
            f"the shapes of {', '.join(layout.incomplete)} are learned from an example: write net.init(key, x) with "
            "an input, or its jax.ShapeDtypeStruct"
        )
    specs: dict[str, Spec] = {}

    def run(*args: Any, **kwargs: Any) -> None:
        scope = Scope(train=False, key=None, observer=None)
        scope.learn = lambda *call: _complete(layout, specs, *call)
        values = {
            path: jnp.zeros(spec.sizes, spec.dtype) if spec.complete else spec
            for path, spec in layout.specs.items()
        }
        getattr(clone(module, "", layout, values, scope, {}), method)(*args, **kwargs)

    abstract_call(run, args, kwargs)
    left = [path for path in layout.incomplete if path not in specs]
    if left:
        raise ModuleDefinitionError(
            f"the call on the example never reached the layers of {', '.join(left)}, so their shapes stay unknown"
        )
    return specs


def _complete(
    layout: Layout,
    specs: dict[str, Spec],
    binding: Binding,
    module: Module,
    args: Any,
    kwargs: Any,
) -> None:
    waiting = {name: spec for name, spec in vars(module).items() if is_spec(spec)}
    if not waiting:
        return
    infer = getattr(module, "infer_shapes", None)
    if infer is None:
        raise ModuleDefinitionError(
            f"{binding.path or type(module).__name__} declares {', '.join(waiting)} with sizes of None and so must "
            "define infer_shapes(*args, **kwargs) -> {name: shape}"
        )
    for name, given in infer(*args, **kwargs).items():
        declared = vars(binding.description)[name]
        if not is_spec(declared):
            continue  # switched off, such as the bias of a layer without one
        shape, init = (given.shape, given.init) if is_spec(given) else (given, declared.init)
        complete = type(declared)(shape, init, declared.dtype)
        specs[layout.path_of(declared)] = complete
        vars(module)[name] = jnp.zeros(complete.sizes, complete.dtype)
