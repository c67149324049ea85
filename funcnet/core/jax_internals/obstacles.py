"""What a traced function holds that other runtimes may lack, and every program inside of an operation.

Why: exporters name what cannot leave Python before they write a file, by what an operation is. JAX has no such
list. Operations are told apart by JAX's objects where `jax.extend` has them, else by name; one that is not
known here is still found, without advice, by the custom call that it lowers to. When one is renamed, it is
renamed here.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, primitives

from funcnet.core.jax_internals.programs import Operation, Program

__all__ = [
    "chosen_branch",
    "custom_calls",
    "decides_platform",
    "draws_numbers",
    "obstacle",
    "programs_within",
    "spans_devices",
]

_FACTORIZATIONS = {
    primitives.cholesky_p: "cholesky",
    primitives.eig_p: "eig",
    primitives.eigh_p: "eigh",
    primitives.hessenberg_p: "hessenberg",
    primitives.householder_product_p: "qr",
    primitives.lu_p: "lu",
    primitives.qr_p: "qr",
    primitives.schur_p: "schur",
    primitives.svd_p: "svd",
    primitives.triangular_solve_p: "triangular_solve",
    primitives.tridiagonal_p: "tridiagonal",
    primitives.tridiagonal_solve_p: "tridiagonal_solve",
}
# newer LAPACK wrappers that jax.extend does not list
_FACTORIZATION_NAMES = {"geqrf", "geqp3", "householder_product", "symmetric_product", "ormqr"}
_COLLECTIVES = {
    primitives.all_gather_p,
    primitives.all_to_all_p,
    primitives.axis_index_p,
    primitives.pmax_p,
    primitives.pmin_p,
    primitives.ppermute_p,
    primitives.psum_p,
    primitives.ragged_all_to_all_p,
}
_COLLECTIVE_NAMES = {
    "all_gather_invariant",
    "all_gather_reduced",
    "pbroadcast",
    "pgather",
    "psum2",
    "psum_invariant",
    "reduce_scatter",
    "shard_map",
}
_CALLBACKS = {"pure_callback", "io_callback", "outside_call", "host_callback_call"}
_PRINTS = {"debug_print", "debug_callback"}
_FEEDS = {"infeed", "outfeed"}
_KERNELS = {
    "ffi_call",
    "pallas_call",
    "tpu_custom_call",
    "triton_kernel_call",
    "bass_call",
    "mosaic_gpu",
    "cudnn_fusion",
    "dot_product_attention_fwd_wrapper",
    "dot_product_attention_bwd_wrapper",
}
_DRAWS = {primitives.random_bits_p, primitives.random_gamma_p, primitives.threefry2x32_p}
_HARDWARE_DRAWS = {primitives.rng_bit_generator_p, primitives.rng_uniform_p}


def obstacle(operation: Operation) -> str | None:
    """Say what of an operation other runtimes may lack; None for plain arithmetic.

    Returns:
        ``"factorization: qr"`` and the like, ``"callback"``, ``"print"``, ``"check"``, ``"feed"``, ``"kernel"``,
        ``"fft"``, ``"approximate top k"``, ``"collective"``, ``"devices"``, ``"hardware random bits"``,
        ``"random bits"`` or ``"sort"``.

    >>> from funcnet.core.jax_internals.obstacles import obstacle
    >>> from funcnet.core.jax_internals.programs import trace
    >>> program, _ = trace(jax.lax.linalg.cholesky, jnp.eye(2))
    >>> [kind for each in program.operations if (kind := obstacle(each))]
    ['factorization: cholesky']
    """
    primitive, name = operation.equation.primitive, operation.name
    if primitive in _FACTORIZATIONS or name in _FACTORIZATION_NAMES:
        return f"factorization: {_FACTORIZATIONS.get(primitive, name)}"
    if primitive in _COLLECTIVES or name in _COLLECTIVE_NAMES:
        return "collective"
    if primitive is primitives.fft_p:
        return "fft"
    if primitive is primitives.approx_top_k_p:
        return "approximate top k"
    if primitive in _HARDWARE_DRAWS or _draws_by_hardware(operation):
        return "hardware random bits"
    if primitive is primitives.sort_p:
        return "sort"
    if draws_numbers(operation):
        return "random bits"
    if spans_devices(operation):
        return "devices"
    for kind, names in _BY_NAME.items():
        if name in names:
            return kind
    return None


_BY_NAME = {
    "callback": _CALLBACKS,
    "print": _PRINTS,
    "check": {"check", "assert"},
    "feed": _FEEDS,
    "kernel": _KERNELS,
}


def _draws_by_hardware(operation: Operation) -> bool:
    """Whether keys are of the kind ``rbg``, whose numbers differ from one device to another."""
    if operation.equation.primitive is not primitives.random_bits_p:
        return False
    return "rbg" in str(operation.equation.invars[0].aval.dtype)


def spans_devices(operation: Operation) -> bool:
    """Whether it says how arrays lie on more than one device."""
    params = operation.equation.params
    placed = [params.get(name) for name in ("sharding", "dst_sharding", "out_shardings")]
    placed += params.get("devices", ()) or ()
    return any(_several(each) for each in placed)


def _several(placed: Any) -> bool:
    if isinstance(placed, Iterable) and not isinstance(placed, str):
        return any(map(_several, placed))
    return isinstance(placed, jax.sharding.Sharding) and placed.num_devices > 1


def draws_numbers(operation: Operation) -> bool:
    """Whether it draws random numbers with a key, its first operand."""
    return operation.equation.primitive in _DRAWS


def chosen_branch(operation: Operation, platform: str | None) -> Program | None:
    """Give the program that a switch on the platform (`jax.lax.platform_dependent`) takes; None if it is none.

    Args:
        operation: any.
        platform: such as ``"cpu"``; None takes the default branch.
    """
    lists = operation.equation.params.get("branches_platforms")
    if operation.equation.primitive is not primitives.cond_p or lists is None:
        return None
    branches = operation.equation.params["branches"]
    fitting = (
        number for number, names in enumerate(lists) if names is not None and platform in names
    )
    default = (number for number, names in enumerate(lists) if names is None)
    number = next(fitting, next(default, None))
    return None if number is None else Program(branches[number])


def decides_platform(operation: Operation) -> bool:
    """Whether its only result is the number of the branch that a switch on the platform takes."""
    return operation.name == "platform_index"


def programs_within(operation: Operation, platform: str | None) -> list[Program]:
    """List the programs that an operation runs on a platform; of a switch on the platform, the one that it takes.

    >>> from funcnet.core.jax_internals.obstacles import programs_within
    >>> from funcnet.core.jax_internals.programs import trace
    >>> double = lambda x: jax.lax.platform_dependent(x, cpu=lambda x: x + x, default=lambda x: x * 2)
    >>> switch = trace(double, 1.0)[0].operations[-1]
    >>> [inner.operations[0].name for inner in programs_within(switch, "cpu")]
    ['add']
    """
    chosen = chosen_branch(operation, platform)
    if chosen is not None:
        return [chosen]
    params = operation.equation.params
    if operation.equation.primitive is primitives.linear_solve_p:
        return [Program(params["jaxprs"].solve)]  # the others are for derivatives
    return [Program(each) for each in _jaxprs(params.values())]


def _jaxprs(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Jaxpr | ClosedJaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _jaxprs(value)


_CUSTOM_CALL = re.compile(r"custom_call\s*@([\w.$-]+|\"[^\"]+\")")
_PLAIN_CALLS = {"shape_assertion", "Sharding", "SPMDFullToShardShape", "annotate_device_placement"}


def custom_calls(text: str) -> list[str]:
    """List what a module's text calls outside of StableHLO, except assertions on shapes.

    >>> from funcnet.core.jax_internals.obstacles import custom_calls
    >>> custom_calls(jax.jit(jax.lax.linalg.cholesky).lower(jnp.eye(2)).as_text())
    ['lapack_spotrf_ffi']
    """
    found = (name.strip('"') for name in _CUSTOM_CALL.findall(text))
    return [name for name in dict.fromkeys(found) if name not in _PLAIN_CALLS]
