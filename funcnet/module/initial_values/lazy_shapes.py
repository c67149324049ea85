"""Shapes learned from an example: how ``Lazy*`` layers are completed.

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
from funcnet.core.jax_internals.programs import Program, trace
from funcnet.module.binding.bound import Binding, Scope, bind_leaves
from funcnet.module.description import Node, specs_of
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.specs import Spec, is_spec

__all__ = ["abstract_call", "learned_specs", "of_arrays", "traced_call"]


def abstract_call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function on the shapes of its arguments; what is not an array is passed as it is.

    Arrays may be given as ``jax.ShapeDtypeStruct``.
    """
    call, arrays = of_arrays(function, args, kwargs)
    return jax.eval_shape(call, arrays)


def traced_call(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Program, Any]:
    """Do the same, and return the program too: ``(program, shapes)``."""
    return trace(*of_arrays(function, args, kwargs))


def of_arrays(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return a function of the arrays among arguments, which are passed as a list, and that list.

    Example:
        >>> from funcnet.module.initial_values.lazy_shapes import of_arrays
        >>> call, arrays = of_arrays(lambda x, name: name, (jnp.ones(3), "a"), {})
        >>> call(arrays), len(arrays)
        ('a', 1)
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

    return call, [leaves[i] for i in dynamic]


def learned_specs(node: Node, method: str, args: Any, kwargs: Any) -> dict[str, Spec]:
    """Return the completed declarations of all arrays that were learned, by path.

    Raises:
        ModuleDefinitionError: no example was given, or the call never reached a lazy layer.
    """
    layout = node.layout
    if not args and not kwargs:
        raise ModuleDefinitionError(
            f"the shapes of {', '.join(layout.incomplete)} are learned from an example: write net.init(key, x) with "
            "an input, or its jax.ShapeDtypeStruct"
        )
    specs: dict[str, Spec] = {}

    def run(*args: Any, **kwargs: Any) -> None:
        scope = Scope(train=False, key=None, observer=None, layout=layout)
        scope.infer = lambda *call: _complete(layout, specs, *call)
        leaves = {
            id(spec): jnp.zeros(spec.sizes, spec.dtype) if spec.complete else spec
            for spec in layout.specs.values()
        }
        getattr(bind_leaves(node, leaves, scope), method)(*args, **kwargs)

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
    waiting = specs_of(module)
    if not waiting:
        return
    for name, learned in module.infer_shapes(*args, **kwargs).items():
        declared = binding.declared(name)
        if not is_spec(declared):
            continue  # switched off, such as the bias of a layer without one
        complete = (
            declared.completed(learned.sizes, learned.init)
            if is_spec(learned)
            else declared.completed(tuple(learned))
        )
        specs[layout.path_of(declared)] = complete
        vars(module)[name] = jnp.zeros(complete.sizes, complete.dtype)
