"""Traced functions run operation by operation, by NumPy where it can: thousands of them, none compiled.

It stands in for the compiler, which would take hours, and judges nothing: the answers are the closed forms
of `rows`. It shares no code with what it runs (funcnet walks traced functions too, in `nan_guard`, `strict` and
`per_example_norms`): a call is opened here, and a loop turned, by this file alone. Each transform by itself
and triples drawn at random are compiled as well, so that a fault of this file would show.
"""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, primitives

# Operations that are a call of the one traced function that they hold.
CALLS = {
    primitives.call_p,
    primitives.closed_call_p,
    primitives.custom_jvp_call_p,
    primitives.custom_vjp_call_p,
    primitives.jit_p,
    primitives.remat_p,
}
WORTH_KEEPING = 20  # operations: fewer are run again sooner than looked up

SIMPLE = {
    "abs": np.abs,
    "add": operator.add,
    "add_any": operator.add,
    "cos": np.cos,
    "div": lambda x, y: x / y if x.dtype.kind in "fc" else np.trunc(x / y).astype(x.dtype),
    "eq": operator.eq,
    "exp": np.exp,
    "ge": operator.ge,
    "gt": operator.gt,
    "is_finite": np.isfinite,
    "le": operator.le,
    "log": np.log,
    "lt": operator.lt,
    "max": np.maximum,
    "min": np.minimum,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "select_n": lambda which, no, yes: np.where(which, yes, no),
    "stop_gradient": lambda x: x,
    "sub": operator.sub,
}
SHAPED = {
    "convert_element_type": lambda p, x: np.asarray(x).astype(p["new_dtype"]),
    "integer_pow": lambda p, x: x ** p["y"],
    "reduce_sum": lambda p, x: np.sum(x, tuple(p["axes"])),
    "reshape": lambda p, x: np.reshape(x, p["new_sizes"]),
    "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    "broadcast_in_dim": lambda p, x: _broadcast(x, p["shape"], p["broadcast_dimensions"]),
    "dot_general": lambda p, x, y: _product(x, y, *p["dimension_numbers"]),
    "reduce_and": lambda p, x: np.all(x, tuple(p["axes"])),
    "slice": lambda p, x: _cut(x, p["start_indices"], p["limit_indices"], p["strides"]),
}


def _broadcast(x: Any, shape: Any, dimensions: Any) -> Any:
    sizes = [1] * len(shape)
    for dimension, size in zip(dimensions, np.shape(x), strict=True):
        sizes[dimension] = size
    return np.broadcast_to(np.reshape(x, sizes), shape)


def _product(x: Any, y: Any, contracted: Any, batch: Any) -> Any:
    """Multiply as `jax.lax.dot_general`: axes are batch axes, the left's others, the right's others."""
    left, right = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in zip((*contracted[0], *batch[0]), (*contracted[1], *batch[1]), strict=True):
        right[j] = left[i]
    free = [axis for axis in left if axis not in (*contracted[0], *batch[0])]
    others = [axis for axis in right if axis >= x.ndim]
    return np.einsum(x, left, y, right, [*batch[0], *free, *others])


def _cut(x: Any, starts: Any, ends: Any, strides: Any) -> Any:
    return x[tuple(map(slice, starts, ends, strides or [1] * x.ndim))]


class Interpreter:
    """Runs traced functions, and remembers what the larger functions that they call have returned.

    JAX traces a jitted function, and each derivative or batch of it, once and calls it from then on: so
    the results of what many programs share are worked out once.
    """

    def __init__(self):
        self.known: dict[Any, tuple[Any, list[Any]]] = {}

    def run(self, traced: Any, arguments: list[Any]) -> list[Any]:
        """Return the outputs of a traced function of flat arguments."""
        with np.errstate(all="ignore"):
            return self._run(traced, list(map(as_numpy, arguments)))

    def _run(self, traced: Any, arguments: list[Any]) -> list[Any]:
        jaxpr, constants = getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())
        values = dict(zip(jaxpr.constvars, map(as_numpy, constants), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return as_numpy(atom.val) if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            outputs = self._outputs(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _outputs(self, equation: Any, operands: list[Any]) -> list[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive in CALLS:
            return self._call(params.get("jaxpr", params.get("call_jaxpr")), operands)
        if primitive is primitives.scan_p:
            return self._scan(equation, operands)
        if primitive is primitives.while_p:
            return self._while(params, operands)
        if primitive is primitives.cond_p:
            return self._run(params["branches"][int(operands[0])], operands[1:])
        if not any(isinstance(operand, jax.Array) for operand in operands):
            if primitive.name in SIMPLE:
                return [SIMPLE[primitive.name](*operands)]
            if primitive.name in SHAPED:
                return [SHAPED[primitive.name](params, *operands)]
        outputs = primitive.bind(*operands, **primitive.get_bind_params(params))
        return list(map(as_numpy, outputs if primitive.multiple_results else [outputs]))

    def _call(self, called: Any, operands: list[Any]) -> list[Any]:
        if len(getattr(called, "jaxpr", called).eqns) < WORTH_KEEPING:
            return self._run(called, operands)
        key = (id(called), *map(fingerprint, operands))
        if key not in self.known:
            self.known[key] = called, self._run(called, operands)
        return self.known[key][1]

    def _scan(self, equation: Any, operands: list[Any]) -> list[Any]:
        """Turn the loop: of what has an axis more outside than in the body, each turn sees a row."""
        params, body = equation.params, equation.params["jaxpr"].jaxpr
        in_rows = list(map(has_more_axes, equation.invars, body.invars))
        out_rows = list(map(has_more_axes, equation.outvars, body.outvars))
        # operands come in the order shared, carried, rows; results in the order carried, rows
        carried = out_rows.count(False)
        shared = in_rows.count(False) - carried
        found: list[Any] = [None] * params["length"]
        turns = list(range(params["length"]))
        for turn in turns[::-1] if params["reverse"] else turns:
            seen = [x[turn] if row else x for x, row in zip(operands, in_rows, strict=True)]
            found[turn] = self._run(params["jaxpr"], seen)
            operands = [*operands[:shared], *found[turn][:carried], *operands[shared + carried :]]
        stacked = [np.stack(column) for column in list(zip(*found, strict=True))[carried:]]
        return [*operands[shared : shared + carried], *stacked]

    def _while(self, params: Any, operands: list[Any]) -> list[Any]:
        first, second = params["cond_nconsts"], params["body_nconsts"]
        of_test, of_body = operands[:first], operands[first : first + second]
        state = operands[first + second :]
        while (going := self._run(params["cond_jaxpr"], [*of_test, *state])[0]).any():
            taken = self._run(params["body_jaxpr"], [*of_body, *state])
            state = [kept_where(going, new, old) for new, old in zip(taken, state, strict=True)]
        return state


def has_more_axes(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) > len(inner.aval.shape)


def kept_where(going: Any, new: Any, old: Any) -> Any:
    """Return the old values of those examples of a batch of loops that have come to their end."""
    return np.where(going.reshape(going.shape + (1,) * (new.ndim - going.ndim)), new, old)


def is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def as_numpy(value: Any) -> Any:
    return value if is_key(value) else np.asarray(value)


def fingerprint(operand: Any) -> Any:
    array = np.asarray(jax.random.key_data(operand) if is_key(operand) else operand)
    return array.dtype, array.shape, array.tobytes()
