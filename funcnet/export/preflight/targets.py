"""What each target takes: of kinds of operations, of dtypes, of open lengths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Advice", "Target", "target_named"]


class Advice(NamedTuple):
    """Why something cannot be exported, and what to write instead."""

    problem: str
    instead: str


@dataclass(frozen=True)
class Target:
    """A place that a function is exported to.

    Attributes:
        name: as users write it.
        platform: whose form of an operation is taken where it has several; None takes the default.
        refused: kinds of operations (`obstacle`) that it lacks; a kind without what follows its colon stands for all.
        dtypes: that it lacks, with what to write instead.
        open_lengths: whether a length may be left open.
        known: kinds of operations that the exporter was given rules for.
    """

    name: str
    platform: str | None = None
    refused: Mapping[str, Advice] = field(default_factory=dict)
    dtypes: Mapping[str, Advice] = field(default_factory=dict)
    open_lengths: bool = True
    known: frozenset[str] = frozenset()

    def advice_on(self, kind: str) -> Advice | None:
        """Say why it lacks a kind of operation; None if it has it."""
        return self.refused.get(kind) or self.refused.get(kind.partition(":")[0])


_CALLBACK = Advice(
    "calls back into Python, which is not there once the model is exported",
    "write it with jax.numpy, or do it outside of the model: before its inputs or after its outputs",
)
_PRINT = Advice(
    "prints or calls back from Python, which is not there once the model is exported",
    "remove it from the function that is exported, or put it under a static argument that is off by default: "
    "`if verbose: jax.debug.print(...)`",
)
_CHECK = Advice(
    "checks values while it runs (checkify), which an exported program cannot report",
    "export the function without the check; check inputs before the call",
)
_FEED = Advice(
    "reads or writes a stream of the device, which other runtimes have not",
    "make what it reads an input of the function, and what it writes an output",
)
_KERNEL = Advice(
    "is a kernel or library call of this machine, which other runtimes have not",
    "write it with jax.numpy, or give both: jax.lax.platform_dependent(x, cuda=kernel, default=plain)",
)
_COLLECTIVE = Advice(
    "talks to other devices, and an exported function runs on one",
    "export the function of one device: without jax.shard_map around it or pmap, and without axis names",
)
_DEVICES = Advice(
    "says how arrays lie on several devices, and an exported function runs on one",
    "export the description that was not given to parallel.shard, with the arrays on one device: "
    "params = jax.device_put(params, jax.devices()[0])",
)
_APPROXIMATE = Advice(
    "is XLA's own call (ApproxTopK), which other runtimes have not",
    "write jax.lax.top_k(x, k), which is exact",
)
_HARDWARE_BITS = Advice(
    "draws random bits in a way that differs from one device to another (rbg), so that no result can be compared",
    "use keys of JAX's own kind: jax.random.key(seed, impl='threefry2x32')",
)

_LAPACK = "is a call of LAPACK, which JAX brings along for itself and other runtimes have not"
_CONSTANT_FACTOR = (
    "if it is taken of weights, do it once before the export and keep the result as a buffer"
)
_FACTORIZATIONS = {
    "cholesky": f"{_CONSTANT_FACTOR}; else make the model produce the factor itself, as normalizing flows and "
    "Gaussian heads do",
    "qr": f"{_CONSTANT_FACTOR}; of small matrices write Gram-Schmidt, of large ones "
    "a Newton-Schulz iteration, which is products of matrices alone (fn.optim.orthogonalize is a coarse one)",
    "svd": f"{_CONSTANT_FACTOR}; a spectral norm is also found by a few power iterations, which are products",
    "eigh": f"{_CONSTANT_FACTOR}; the largest eigenvalues are also found by a few power iterations, which are products",
    "lu": f"{_CONSTANT_FACTOR} (an inverse, a determinant); of 2x2 and 3x3 matrices write the formula",
    "triangular_solve": f"{_CONSTANT_FACTOR} (keep the inverse); of small matrices write forward substitution",
}


def _factorizations() -> dict[str, Advice]:
    known = {
        f"factorization: {name}": Advice(_LAPACK, text) for name, text in _FACTORIZATIONS.items()
    }
    return known | {"factorization": Advice(_LAPACK, _CONSTANT_FACTOR)}


_PYTHON = {"callback": _CALLBACK, "print": _PRINT, "check": _CHECK}
_ELSEWHERE = _PYTHON | {
    "feed": _FEED,
    "kernel": _KERNEL,
    "collective": _COLLECTIVE,
    "devices": _DEVICES,
    "approximate top k": _APPROXIMATE,
    "hardware random bits": _HARDWARE_BITS,
    **_factorizations(),
}


def _lacks(what: str, instead: str) -> Advice:
    return Advice(f"{what}, which the target lacks", instead)


_NO_FOURIER = Advice(
    "is a Fourier transform, which the target lacks",
    "transform the inputs outside of the model, or write it as a product with a constant matrix: "
    "real = x @ cos_matrix, imaginary = x @ sin_matrix",
)
_NO_BITS = _lacks(
    "is a draw of random numbers",
    "make the numbers an input of the function: spec(shape, name='noise')",
)
_NO_SORT = _lacks(
    "is a sort", "use jax.lax.top_k(x, k), which it has; its second result is an argsort"
)
_REAL = "keep real and imaginary parts as two real arrays"
_NO_COMPLEX = {
    name: _lacks(f"a complex number ({name})", _REAL) for name in ("complex64", "complex128")
}
_SINGLE = "use float32: nn layers take dtype=jnp.float32, and jax.enable_x64 is off by default"
_NO_DOUBLE = {"float64": _lacks("numbers in 64 bits (float64)", _SINGLE)}
_EIGHT = {
    name: _lacks(f"numbers in 8 bits or less ({name})", "use float32, float16 or bfloat16")
    for name in (
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e4m3",
        "float8_e3m4",
        "float8_e8m0fnu",
        "float4_e2m1fn",
        "int4",
        "uint4",
        "int2",
        "uint2",
    )
}

_TARGETS = (
    Target("stablehlo", "cpu", _ELSEWHERE),
    Target("native", "cpu", _ELSEWHERE),
    Target("tensorflow", "cpu", _ELSEWHERE, _EIGHT),
    Target(
        "litert",
        None,
        _ELSEWHERE | {"fft": _NO_FOURIER, "random bits": _NO_BITS, "sort": _NO_SORT},
        _NO_COMPLEX | _NO_DOUBLE | _EIGHT,
        open_lengths=False,
    ),
    Target("iree", "cpu", _ELSEWHERE, _NO_COMPLEX | _EIGHT, open_lengths=False),
    Target("onnx", None, _ELSEWHERE | {"fft": _NO_FOURIER}, _NO_COMPLEX),
)


def target_named(name: str) -> Target:
    """Find a target by its name.

    >>> from funcnet.export.preflight.targets import target_named
    >>> target_named("litert").open_lengths
    False
    """
    for each in _TARGETS:
        if each.name == name:
            return each
    raise ValueError(f"the targets are {', '.join(each.name for each in _TARGETS)}; got {name!r}")
