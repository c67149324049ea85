"""An artifact in memory: its functions, its arrays, and what its manifest says."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Params, PyTree, State
from funcnet.core.jax_internals.portable import portable_text
from funcnet.export.artifact.checking import check_inputs, check_weights, check_width
from funcnet.export.programs.calling import StoredFunction
from funcnet.export.records import ArtifactManifest, FunctionRecord
from funcnet.export.specs import ArraySpec
from funcnet.export.trees import build_tree, leaf_paths, list_leaves

__all__ = ["Artifact", "LoadedFunction"]


class LoadedFunction:
    """One function of an artifact.

    Attributes:
        name: of the function.
        record: what it takes and returns, and its programs.

    Example:
        >>> def scaled(params, state, x):
        ...     return params["scale"] * x, state
        >>> x = fn.export.spec(("batch",))
        >>> path = fn.export.save("model.fnx", scaled, {"scale": jnp.float32(2)}, {}, x)
        >>> function = fn.export.load(path)["call"]
        >>> function
        call(x: float32[batch]) -> output: float32[batch]
        >>> function(jnp.ones(3)).tolist()
        [2.0, 2.0, 2.0]
    """

    def __init__(self, name: str, record: FunctionRecord, owner: "Artifact") -> None:
        self.name = name
        self.record = record
        self._owner = owner
        weights = [ArraySpec(a.shape, a.dtype, n) for n, a in owner.weights_of(record).items()]
        self._stored = StoredFunction(name, record, weights, owner.program)

    def __call__(self, *inputs: PyTree, **named: PyTree) -> Any:
        """Compute with the weights of the file.

        Args:
            *inputs: arrays of the shapes and dtypes that the file tells, or trees of them.
            **named: inputs by their names instead.

        Returns:
            The output, or ``(output, state)`` if it was exported with ``returns_state=True``.

        Raises:
            TypeError: an input is missing, unknown, or of another dtype.
            ValueError: an input has another shape.
        """
        return self._result(self._owner.arrays, inputs, named)

    def apply(
        self, params: Params, state: State, /, *inputs: PyTree, **named: PyTree
    ) -> tuple[Any, State]:
        """Compute with other weights, as `Functional.apply` does.

        Args:
            params: like `Artifact.params`.
            state: like `Artifact.state`.
            *inputs: as for a call.
            **named: likewise.

        Returns:
            The output and the new state; the same state if the function was exported without it.

        Raises:
            TypeError: params, state or inputs are not built like those of the file.
            ValueError: an array has another shape or dtype.
        """
        arrays = self._owner.named_arrays(self.name, params, state)
        result = self._result(arrays, inputs, named)
        return result if self.record.returns_state else (result, state)

    def _result(
        self, arrays: Mapping[str, Any], inputs: tuple[PyTree, ...], named: Mapping[str, PyTree]
    ) -> Any:
        checked = check_inputs(self.name, self.record, inputs, named)
        weights = [arrays[name] for name in self.record.weights]
        outputs = self._stored.call(*weights, *checked)
        return build_tree(self.record.outputs_tree, iter(outputs))

    def compile(self) -> None:
        """Compile its programs, and those of its derivative, at 1 for lengths that are open; none is run.

        Raises:
            ExportError: XLA refuses one.
        """
        self._stored.compile()

    def __repr__(self) -> str:
        """Show it like a signature."""
        inputs = ", ".join(f"{each.name}: {each}" for each in self.record.inputs)
        outputs = ", ".join(f"{each.name}: {each}" for each in self.record.outputs)
        return f"{self.name}({inputs}) -> {outputs}"


class Artifact:
    """A model that `save` wrote: `load` gives it.

    An artifact with one function, or with one named ``"call"``, is called like it: ``artifact(x)``. `apply` takes other
    weights, so that a loaded model is trained on as a live one is, if it was exported with ``differentiable=True``.

    Attributes:
        manifest: what the file says of itself.
        functions: all functions by name; ``artifact["encode"]`` is one of them.
        digest: the SHA-256 of the manifest, which holds those of all other parts of the file.
        stored: all arrays by dotted name as they lie in the file, NumPy's views that are read when they are used.

    Example:
        >>> def scaled(params, state, x):
        ...     return params["scale"] * x, state
        >>> x = fn.export.spec(("batch",))
        >>> path = fn.export.save("m.fnx", scaled, {"scale": jnp.float32(2)}, {}, x, differentiable=True)
        >>> artifact = fn.export.load(path)
        >>> loss = lambda params: artifact.apply(params, artifact.state, jnp.ones(3))[0].sum()
        >>> float(jax.grad(loss)(artifact.params)["scale"])
        3.0
    """

    def __init__(
        self,
        manifest: ArtifactManifest,
        weights: Mapping[str, np.ndarray],
        programs: Mapping[str, Any],
        digest: str,
    ) -> None:
        self.manifest = manifest
        self.digest = digest
        self.stored = weights
        self._programs = programs
        self.functions = {
            name: LoadedFunction(name, record, self) for name, record in manifest.functions.items()
        }

    def __getitem__(self, name: str) -> LoadedFunction:
        """Give a function by its name."""
        if name not in self.functions:
            raise KeyError(f"there is no function {name!r}, but {', '.join(self.functions)}")
        return self.functions[name]

    def __call__(self, *inputs: PyTree, **named: PyTree) -> Any:
        """Call the only function, or the one named ``"call"``: see `LoadedFunction`."""
        return self._main(*inputs, **named)

    def apply(
        self, params: Params, state: State, /, *inputs: PyTree, **named: PyTree
    ) -> tuple[Any, State]:
        """Call it with other weights: see `LoadedFunction.apply`."""
        return self._main.apply(params, state, *inputs, **named)

    @property
    def _main(self) -> LoadedFunction:
        if len(self.functions) > 1 and "call" not in self.functions:
            raise TypeError(
                f"this artifact has several functions: artifact[{next(iter(self.functions))!r}](...) calls one of "
                f"{', '.join(self.functions)}"
            )
        return self.functions.get("call") or next(iter(self.functions.values()))

    @property
    def params(self) -> Params:
        """The trained arrays, nested as they were; a new tree each time."""
        return self._tree(self.manifest.params_tree)

    @property
    def state(self) -> State:
        """The arrays that a model remembers between calls, nested as they were; a new tree each time."""
        return self._tree(self.manifest.state_tree)

    def _tree(self, description: Any) -> dict[str, Any]:
        return build_tree(description, iter([self.arrays[n] for n in leaf_paths(description)]))

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """All arrays by dotted name, on JAX's device from when they are first used."""
        for name, array in self.stored.items():
            check_width(self.manifest.name, name, array.dtype)
        with (
            jax.ensure_compile_time_eval()
        ):  # the first use may be within jit, whose arrays do not outlive it
            return {name: jnp.asarray(array) for name, array in self.stored.items()}

    def weights_of(self, record: FunctionRecord) -> dict[str, np.ndarray]:
        """Give the arrays of the file that a function takes, in order."""
        return {name: self.stored[name] for name in record.weights}

    def named_arrays(self, where: str, params: Params, state: State) -> dict[str, Any]:
        """Flatten trees like `params` and `state` to arrays by dotted name, checked."""
        pairs = list_leaves(self.manifest.params_tree, params, "", _tree_error(where, "params"))
        pairs += list_leaves(self.manifest.state_tree, state, "", _tree_error(where, "state"))
        return check_weights(where, self.stored, pairs)

    def program(self, file: str) -> bytes:
        """Give the bytes of a program by its file's name."""
        return bytes(self._programs[file])

    def text(self, file: str) -> str:
        """Give a program as StableHLO that people read."""
        return portable_text(self.program(file))

    def __repr__(self) -> str:
        """List the functions."""
        return "\n".join(
            [f"Artifact {self.manifest.name}", *(f"  {f}" for f in self.functions.values())]
        )


def _tree_error(where: str, what: str) -> Callable[[str], Exception]:
    return lambda text: TypeError(
        f"{where}: apply takes params and state like artifact.params and artifact.state, then the inputs; "
        f"{what}: {text}"
    )
