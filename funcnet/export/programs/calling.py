"""A function as JAX calls it: the program that fits, its derivative, one element after the other under vmap."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
from jax.custom_batching import sequential_vmap

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.portable import restored_call
from funcnet.export.flat import structs
from funcnet.export.lengths import symbols_of
from funcnet.export.records import FunctionRecord, ProgramRecord
from funcnet.export.specs import ArraySpec

__all__ = ["ProgramSet", "StoredFunction"]


class ProgramSet:
    """The programs of one computation, of which a call runs the one that fits its arrays.

    Args:
        where: for messages.
        records: the programs.
        read: gives the bytes of a program.
        inputs: what all of them take.
        outputs: what they return.
    """

    def __init__(
        self,
        where: str,
        records: Sequence[ProgramRecord],
        read: Callable[[str], bytes],
        inputs: Sequence[ArraySpec],
        outputs: Sequence[ArraySpec],
    ) -> None:
        self._where, self._records, self._read = where, records, read
        self._inputs, self._outputs = inputs, outputs
        self._calls: dict[str, Callable[..., list[Any]]] = {}

    def __call__(self, *arrays: Any) -> list[Any]:
        """Run the fitting program; under `jax.vmap` once for each element."""
        return sequential_vmap(self._run_fitting)(*arrays)

    def _run_fitting(self, *arrays: Any) -> list[Any]:
        return self.run(self._fitting([tuple(array.shape) for array in arrays]), arrays)

    def run(self, record: ProgramRecord, arrays: Sequence[Any]) -> list[Any]:
        """Run one of the programs, whether or not it is the one to choose."""
        if record.file not in self._calls:
            self._calls[record.file] = self._restored(record)
        return list(self._calls[record.file](*arrays))

    def compile(self) -> None:
        """Compile all programs that can run here, at 1 for lengths that are open.

        Raises:
            ExportError: XLA refuses one.
        """
        symbols = symbols_of([n for each in self._inputs for n in each.shape])
        for record in self._usable(jax.export.default_export_platform()):
            inputs = structs(self._inputs, record.sizes or dict.fromkeys(symbols, 1))
            try:
                jax.jit(self._restored(record)).lower(*inputs).compile()
            except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
                cause = str(error.__cause__ or error).strip().splitlines()[0]
                raise ExportError(f"{record.file} cannot be compiled: {cause}") from None

    def _fitting(self, shapes: Sequence[tuple[int, ...]]) -> ProgramRecord:
        """Choose: for this platform before any other, for these sizes before open ones."""
        platform = jax.export.default_export_platform()
        usable = self._usable(platform)
        usable.sort(key=lambda r: (r.platform != platform, r.sizes is None))
        for record in usable:
            if record.sizes is None or self._shapes(record.sizes) == shapes:
                return record
        made_for = sorted({r.platform for r in self._records})
        if not usable:
            raise ExportError(
                f"{self._where} was exported for {', '.join(made_for)} alone, and this is {platform}: export it with "
                f"platforms=({platform!r},)"
            )
        known = [dict(r.sizes) for r in usable if r.sizes is not None]
        given = ", ".join(
            f"{each.name} of shape {shape}"
            for each, shape in zip(self._inputs, shapes, strict=True)
            if each.symbols
        )
        raise ExportError(
            f"{self._where} was exported for fixed sizes alone: {known}; got {given}. Pad the inputs to one of these, "
            "or export it with further sizes=, or with symbolic=True"
        )

    def _usable(self, platform: str) -> list[ProgramRecord]:
        return [r for r in self._records if r.platform == platform or r.portable]

    def _shapes(self, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
        return [tuple(each.shape) for each in structs(self._inputs, sizes)]

    def _restored(self, record: ProgramRecord) -> Callable[..., list[Any]]:
        """Make a function of one program."""
        arrays = structs([*self._inputs, *self._outputs], record.sizes)
        count = len(self._inputs)
        program = self._read(record.file)
        return restored_call(
            program, arrays[:count], arrays[count:], record.platform, anywhere=record.portable
        )


class StoredFunction:
    """A function on lists of arrays: weights, then inputs.

    Args:
        name: of the function, for messages.
        record: what the manifest says of it.
        weights: the shapes and dtypes of its weights.
        read: gives the bytes of a program.

    Attributes:
        forward: the programs that compute it.
        gradient: those of its derivative.
    """

    def __init__(
        self,
        name: str,
        record: FunctionRecord,
        weights: Sequence[ArraySpec],
        read: Callable[[str], bytes],
    ) -> None:
        self._name, self._record = name, record
        inputs = [*weights, *record.inputs]
        self.forward = ProgramSet(name, record.programs, read, inputs, record.outputs)
        if record.gradient is not None:
            order = list(record.weights)
            places = [order.index(each) for each in record.gradient.weights]
            self._places = places + [len(order) + i for i in record.gradient.inputs]
            cotangents = [record.outputs[i] for i in record.gradient.outputs]
            gradients = [inputs[place] for place in self._places]
            programs = record.gradient.programs
            self.gradient = ProgramSet(name, programs, read, [*inputs, *cotangents], gradients)

    def compile(self) -> None:
        """Compile all programs, those of the derivative too.

        Raises:
            ExportError: XLA refuses one.
        """
        self.forward.compile()
        if self._record.gradient is not None:
            self.gradient.compile()

    @cached_property
    def call(self) -> Callable[..., list[Any]]:
        """The function, compiled once for all shapes that it meets, with the derivative that it has."""
        return jax.jit(self._differentiable if self._record.gradient else self._underivable)

    @property
    def _underivable(self) -> Callable[..., list[Any]]:
        return _refusing(
            self.forward,
            f"{self._name} has no derivative in this file: export it with differentiable=True, or hold its inputs "
            "and weights fixed with jax.lax.stop_gradient",
        )

    @property
    def _differentiable(self) -> Callable[..., list[Any]]:
        wanted = self._record.gradient.outputs if self._record.gradient else ()
        gradient = _refusing(
            self.gradient,
            f"{self._name} has first derivatives alone: an exported function has no second ones",
        )

        @jax.custom_vjp
        def call(*arrays: Any) -> list[Any]:
            return self.forward(*arrays)

        def forward(*arrays: Any) -> tuple[list[Any], tuple[Any, ...]]:
            return call(*arrays), arrays

        def backward(arrays: tuple[Any, ...], cotangents: list[Any]) -> tuple[Any, ...]:
            made = gradient(*arrays, *(cotangents[i] for i in wanted))
            found = dict(zip(self._places, made, strict=True))
            return tuple(found.get(place) for place in range(len(arrays)))

        call.defvjp(forward, backward)
        return call


def _refusing(function: Callable[..., list[Any]], message: str) -> Callable[..., list[Any]]:
    """Let a function be called, and refuse its derivative."""

    @jax.custom_jvp
    def call(*arrays: Any) -> list[Any]:
        return function(*arrays)

    @call.defjvp
    def refuse(primals: Any, tangents: Any) -> Any:
        raise ExportError(message)

    return call
