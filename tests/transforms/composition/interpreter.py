"""Traced functions run operation by operation, by NumPy where it can: thousands of them, none compiled."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from funcnet.transforms.jaxprs import called, evaluate, opened

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

    def run(self, closed: core.ClosedJaxpr, arguments: list[Any]) -> list[Any]:
        """Return the outputs of a traced function of flat arguments."""
        with np.errstate(all="ignore"):
            return self._run(closed.jaxpr, closed.consts, list(map(as_numpy, arguments)))

    def _run(self, jaxpr: Any, consts: Any, arguments: list[Any]) -> list[Any]:
        values = dict(zip(jaxpr.constvars, map(as_numpy, consts), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return as_numpy(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for equation in jaxpr.eqns:
            outputs = self._outputs(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _outputs(self, equation: Any, operands: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        special = {"scan": self._scan, "while": self._while, "cond": self._cond}
        if name in special:
            return special[name](params, equation, operands)
        inner = called(equation)
        if inner is None:
            if not any(isinstance(operand, jax.Array) for operand in operands):
                if name in SIMPLE:
                    return [SIMPLE[name](*operands)]
                if name in SHAPED:
                    return [SHAPED[name](params, *operands)]
            return [as_numpy(value) for value in evaluate(equation, operands)]
        if len(inner[0].eqns) < WORTH_KEEPING:
            return self._run(*inner, operands)
        key = (id(inner[0]), *map(fingerprint, operands))
        if key not in self.known:
            self.known[key] = inner[0], self._run(*inner, operands)
        return self.known[key][1]

    def _scan(self, params: Any, equation: Any, operands: list[Any]) -> list[Any]:
        body, consts = opened(params["jaxpr"])
        # the parameters that tell carry from xs changed names between releases; ranks tell them too
        count = sum(map(same_rank, equation.outvars, body.outvars))
        end = sum(map(same_rank, equation.invars, body.invars))
        shared, carry, xs = operands[: end - count], operands[end - count : end], operands[end:]
        turns = range(params["length"])
        rows: list[Any] = [None] * len(turns)
        for turn in reversed(turns) if params["reverse"] else turns:
            outputs = self._run(body, consts, [*shared, *carry, *(x[turn] for x in xs)])
            carry, rows[turn] = outputs[:count], outputs[count:]
        return [*carry, *(np.stack(column) for column in zip(*rows, strict=True))]

    def _while(self, params: Any, equation: Any, operands: list[Any]) -> list[Any]:
        first, second = params["cond_nconsts"], params["body_nconsts"]
        of_test, of_body = operands[:first], operands[first : first + second]
        state = operands[first + second :]
        while True:
            (going,) = self._run(*opened(params["cond_jaxpr"]), [*of_test, *state])
            if not going.any():
                return state
            taken = self._run(*opened(params["body_jaxpr"]), [*of_body, *state])
            state = [kept_where(going, new, old) for new, old in zip(taken, state, strict=True)]

    def _cond(self, params: Any, equation: Any, operands: list[Any]) -> list[Any]:
        return self._run(*opened(params["branches"][int(operands[0])]), operands[1:])


def same_rank(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) == len(inner.aval.shape)


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
