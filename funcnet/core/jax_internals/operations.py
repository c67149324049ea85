"""What an operation of a traced program is called here, and its settings, the same for every release of JAX.

Why: exporters translate operations one by one. JAX tells them apart by objects, most of which `jax.extend` gives; a
few are found by their names alone, because no documented module has them (`_BY_NAME`). Their settings are JAX's own
objects and change between releases: they are turned into plain numbers, tuples and words here, and nowhere else. An
operation that is not known has a kind that begins with ``unknown:`` and no settings: exporters refuse it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, primitives

from funcnet.core.jax_internals.programs import Operation, Program, trace

__all__ = ["inner_call", "operation_kind", "settings_of"]

_BY_OBJECT = {
    primitive: name.removesuffix("_p")
    for name, primitive in vars(primitives).items()
    if name.endswith("_p")
}
"""JAX's objects, under the names that `jax.extend.core.primitives` gives them: ``scatter_add`` and so on."""

_BY_NAME = {
    name: name.replace("-", "_")
    for name in (
        "approx_top_k",
        "axis_index",
        "debug_callback",
        "debug_print",
        "dim_as_value",
        "io_callback",
        "iota_2x32_shape",
        "optimization_barrier",
        "platform_index",
        "pure_callback",
        "pvary",
        "ragged_dot_general",
        "random_unwrap",
        "random_wrap",
        "reduce_prod",
        "scatter_sub",
        "scatter-sub",
        "split",
        "stack",
        "tile",
        "unstack",
        "clamp",
        "tan",
        "log2",
        "one_minus_square",
    )
}
"""Operations whose objects no documented module has; and those that only newer releases of JAX have there."""

_SETTINGS_OF_NO_MEANING = {
    "accuracy",
    "ctx_mesh",
    "indices_are_sorted",
    "out_sharding",
    "precision",
    "sharding",
    "unique_indices",
    "weak_type",
}
"""They change how fast or how exactly a result is found, or where it lies, but not what it is."""


def operation_kind(operation: Operation) -> str:
    """Name an operation as exporters do: ``add``, ``dot_general``, ``scatter_add``; ``call`` for any call.

    A call is an operation that only runs a program of its own (``jit``, ``remat``, ``custom_jvp_call`` and so on):
    `inner_call` gives that program. Loops and choices are ``scan``, ``while`` and ``cond``: `Operation.control`.

    >>> from funcnet.core.jax_internals.operations import operation_kind
    >>> from funcnet.core.jax_internals.programs import trace
    >>> program, _ = trace(lambda x: jnp.sin(x) + 1, 1.0)
    >>> [operation_kind(each) for each in program.operations]
    ['sin', 'add']
    """
    if operation.called is not None or _is_linear_solve(operation) or _is_high(operation):
        return "call"
    primitive = operation.equation.primitive
    known = _BY_OBJECT.get(primitive) or _BY_NAME.get(primitive.name)
    return known or f"unknown:{primitive.name}"


def settings_of(operation: Operation) -> dict[str, Any]:
    """Give what an operation was asked to do, in plain values.

    The names are JAX's where JAX has kept them. What is different: dtypes are NumPy's; ``dimension_numbers`` is
    taken apart (see `_READERS`: of ``dot_general``, ``conv_general_dilated``, ``gather`` and the scatters); a
    ``mode`` is one of ``"clip"``, ``"fill"``, ``"promise"``; a program within is a `Program` under ``"body"``; and
    what says nothing of the result (shardings, accuracies) is not there. Lengths may be symbolic.

    >>> from funcnet.core.jax_internals.operations import settings_of
    >>> from funcnet.core.jax_internals.programs import trace
    >>> program, _ = trace(lambda x: x.sum(1), jnp.ones((2, 3)))
    >>> settings_of(program.operations[0])
    {'axes': (1,)}
    """
    if operation.called is not None or operation.control is not None:
        return {}
    params = operation.equation.params
    plain = {
        name: _plain(value)
        for name, value in params.items()
        if name not in _SETTINGS_OF_NO_MEANING and not callable(value)
    }
    reader = _READERS.get(operation_kind(operation))
    return reader(params, plain) if reader else plain


def _plain(value: Any) -> Any:
    """Turn a dtype into NumPy's and a jaxpr into a `Program`; leave the rest."""
    if isinstance(getattr(value, "jaxpr", value), Jaxpr):
        return Program(value)
    if type(value).__module__.startswith("numpy") or value is None:
        return value
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value)
    return value


def _dot_general(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``contracting`` and ``batch``: for both operands, a tuple of axes."""
    contracting, batch = params["dimension_numbers"]
    return {
        "contracting": tuple(map(tuple, contracting)),
        "batch": tuple(map(tuple, batch)),
        "preferred_element_type": plain.get("preferred_element_type"),
    }


def _convolution(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``lhs_spec``, ``rhs_spec``, ``out_spec``: where (batch, feature, space...) or (out, in, space...) lie."""
    numbers = params["dimension_numbers"]
    specs = {name: tuple(getattr(numbers, name)) for name in ("lhs_spec", "rhs_spec", "out_spec")}
    kept = {name: value for name, value in plain.items() if name != "dimension_numbers"}
    return {**kept, **specs}


def _gather(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``offset_dims``, ``collapsed_slice_dims``, ``start_index_map``, both kinds of batching dims, ``slice_sizes``."""
    names = (
        "offset_dims",
        "collapsed_slice_dims",
        "start_index_map",
        "operand_batching_dims",
        "start_indices_batching_dims",
    )
    return {
        **_numbers(params, names),
        "slice_sizes": tuple(params["slice_sizes"]),
        "mode": _mode(params["mode"]),
        "fill_value": plain.get("fill_value"),
    }


def _scatter(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``update_window_dims``, ``inserted_window_dims``, ``scatter_dims_to_operand_dims``, both batching dims."""
    del plain
    names = (
        "update_window_dims",
        "inserted_window_dims",
        "scatter_dims_to_operand_dims",
        "operand_batching_dims",
        "scatter_indices_batching_dims",
    )
    return {**_numbers(params, names), "mode": _mode(params["mode"])}


def _plain_scatter(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Give the same, and ``applies``: whether a function of one's own is applied to what is there."""
    return {**_scatter(params, plain), "applies": params.get("update_jaxpr") is not None}


def _numbers(params: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    numbers = params["dimension_numbers"]
    return {name: tuple(getattr(numbers, name)) for name in names}


def _mode(mode: Any) -> str:
    """Say what is done with indices outside: JAX numbers the modes, and their texts hold these words."""
    text = str(mode).lower()
    found = [word for word in ("clip", "fill", "promise") if word in text]
    if len(found) != 1:
        raise ValueError(f"JAX has a new mode of indexing: {mode}")
    return found[0]


def _reduce(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``body``: the `Program` that joins two numbers; and ``dimensions``."""
    name = "jaxpr" if "jaxpr" in params else "computation"
    body = Program(params[name])
    return {**{k: v for k, v in plain.items() if k != name}, "body": body}


def _platform_index(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``default``: the number of the branch for platforms that are not named."""
    del plain
    platforms = list(params["platforms"])
    return {"default": platforms.index(None) if None in platforms else None}


def _select_and_scatter(params: Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """``select``: ``"ge"`` or ``"le"``, the operation that chooses a place of each window."""
    select = _BY_OBJECT.get(params.get("select_prim"))
    return {**{k: v for k, v in plain.items() if k != "select_prim"}, "select": select}


_READERS: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "conv_general_dilated": _convolution,
    "dot_general": _dot_general,
    "gather": _gather,
    "platform_index": _platform_index,
    "reduce": _reduce,
    "scatter": _plain_scatter,
    "scatter_add": _scatter,
    "scatter_max": _scatter,
    "scatter_min": _scatter,
    "scatter_mul": _scatter,
    "scatter_sub": _scatter,
    "select_and_gather_add": _select_and_scatter,
    "select_and_scatter_add": _select_and_scatter,
}


def inner_call(operation: Operation) -> tuple[Program, list[int]] | None:
    """Give the program that an operation comes down to, and which of the operands it takes; None for others.

    That is what a call calls; the solution of a ``custom_linear_solve``, whose other programs are there for its
    derivatives; and what one of the operations stands for that JAX 0.12 has above its own (``Nonzero``).
    """
    if operation.called is not None:
        return operation.called, list(range(len(operation.equation.invars)))
    equation = operation.equation
    if _is_high(operation):
        return _expanded(operation), list(range(len(equation.invars)))
    if not _is_linear_solve(operation):
        return None
    lengths = equation.params["const_lengths"]
    start = lengths.matvec + lengths.vecmat
    own = range(start, start + lengths.solve)
    return Program(equation.params["jaxprs"].solve), [
        *own,
        *range(sum(lengths), len(equation.invars)),
    ]


def _is_linear_solve(operation: Operation) -> bool:
    return operation.equation.primitive is primitives.linear_solve_p


def _is_high(operation: Operation) -> bool:
    """Whether JAX has it above its own operations, in terms of which it can be had: since 0.12."""
    equation = operation.equation
    return hasattr(equation.primitive, "to_lojax") and "_prim" in equation.params


def _expanded(operation: Operation) -> Program:
    equation = operation.equation

    def run(*operands: Any) -> Any:
        return equation.primitive.to_lojax(*operands, **equation.params)

    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in operation.operands]
    program, _ = trace(run, *shapes)
    return program
