"""Random bits from keys: JAX's own programs for its Threefry keys, which are whole numbers and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation, trace
from funcnet.core.jax_internals.random_bits import THREEFRY_KEYS
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.translation import OperationRule, Translator
from funcnet.export.operators.kernels import arithmetic, refuse, result_of, shape_of

__all__ = ["THREEFRY", "without_keys"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Threefry 2x32 with 20 rounds: sums, rotations and exclusive ors of 32 bits.

    Reference:
        J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
    """
    first, second, left, right = operands

    def xor(*inputs: Value) -> Value:
        return graph.node("BitwiseXor", inputs)

    def add(*inputs: Value) -> Value:
        return arithmetic(graph, "Add", inputs)

    keys = (first, second, xor(xor(first, second), graph.scalar(0x1BD11BDA, np.uint32)))
    left, right = add(left, keys[0]), add(right, keys[1])
    for block in range(5):
        for steps in _ROTATIONS[block % 2]:
            left = add(left, right)
            right = xor(left, _rotated(graph, right, steps))
        left = add(left, keys[(block + 1) % 3])
        right = add(add(right, keys[(block + 2) % 3]), graph.scalar(block + 1, np.uint32))
    return [left, right]


def _rotated(graph: Graph, value: Value, steps: int) -> Value:
    up = graph.node("BitShift", [value, graph.scalar(steps, np.uint32)], direction="LEFT")
    down = graph.node("BitShift", [value, graph.scalar(32 - steps, np.uint32)], direction="RIGHT")
    return graph.node("BitwiseOr", [up, down])


def _places(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Count all places of a shape, as the upper and lower 32 bits of one number."""
    shape, dtype = result_of(operation)
    if not all(isinstance(n, int | np.integer) for n in shape):
        raise refuse(operation, "random numbers of an open shape")
    numbers = np.arange(int(np.prod(shape)), dtype=np.uint64).reshape(shape)
    return [graph.constant((numbers >> np.uint64(by)).astype(dtype)) for by in (32, 0)]


# ---- keys ----------------------------------------------------------------------------------------


def _is_key(value: Value) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _numbers(graph: Graph, operation: Operation, key: Value) -> Value:
    """Give the two numbers of a key, along a last axis: they are what the graph carries."""
    if _is_key(key) and str(key.dtype) != f"key<{THREEFRY_KEYS.tag}>":
        raise refuse(operation, f"keys of the kind {key.dtype}; JAX's default kind is written")
    if key.array is not None:
        return graph.constant(np.asarray(jax.random.key_data(key.array)))
    return Value(key.name, (*shape_of(key), 2), np.dtype(np.uint32))


def _by_jax(of_settings: Callable[[dict[str, Any]], Callable[..., Any]]) -> OperationRule:
    """Trace what JAX does with the numbers of a key, and write that; several keys one by one in parallel."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        from funcnet.export.operators import RULES

        function = of_settings(settings_of(operation))
        key, *others = operands
        for _ in shape_of(key):
            function = jax.vmap(function)
        numbers = [_numbers(graph, operation, key), *others]
        types = [jax.ShapeDtypeStruct(shape_of(each), each.dtype) for each in numbers]
        program, _ = trace(function, *types)
        return Translator(RULES).run(graph, program, numbers, graph.shared.scope)

    return rule


def _wrapped(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    if str(operation.results[0].dtype) != f"key<{THREEFRY_KEYS.tag}>":
        raise refuse(operation, "keys of another kind than JAX's default")
    return operands


def _unwrapped(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [_numbers(graph, operation, operands[0])]


_WITH_KEYS = {"concatenate", "copy", "name", "slice", "squeeze", "stop_gradient", "unstack"}
"""Operations whose rules leave a last axis alone, so that they may be done to the numbers of keys."""


def without_keys(kind: str, rule: OperationRule) -> OperationRule:
    """Have a rule refuse keys, which the graph carries with an axis more than their shape says."""
    if kind in THREEFRY:
        return rule

    def guarded(graph: Graph, operation: Operation, operands: list[Value]) -> Any:
        if any(map(_is_key, operands)):
            if kind not in _WITH_KEYS:
                raise refuse(operation, "of random keys")
            operands = [_carried_key(graph, operation, each) for each in operands]
        return rule(graph, operation, operands)

    return guarded


def _carried_key(graph: Graph, operation: Operation, key: Value) -> Value:
    numbers = _numbers(graph, operation, key)
    return Value(graph.use(numbers), key.shape, numbers.dtype)


THREEFRY: dict[str, OperationRule] = {
    "iota_2x32_shape": _places,
    "random_bits": _by_jax(
        lambda given: lambda k: THREEFRY_KEYS.random_bits(k, given["bit_width"], given["shape"])
    ),
    "random_fold_in": _by_jax(lambda given: THREEFRY_KEYS.fold_in),
    "random_split": _by_jax(lambda given: lambda k: THREEFRY_KEYS.split(k, given["shape"])),
    "random_unwrap": _unwrapped,
    "random_wrap": _wrapped,
    "threefry2x32": _threefry,
}
"""Rules by kind of operation."""
