"""A loss severed at the pipelined Repeat: what comes before it, and what comes after.

Nobody has to write the two parts. The whole loss is run with a model whose Repeat is a seam: for the part before, it
notes what reaches it; for the part after, it answers with given values. What a part does not need the compiler
leaves out, and what the second part needs of the first (a tied embedding, a shortcut around the blocks) it has.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from funcnet.core.aliases import Params, PyTree
from funcnet.core.jax_internals.compilation import trace_state
from funcnet.core.paths import flatten, nest
from funcnet.module import Functional
from funcnet.module.description import layout_of, replaced, snapshot
from funcnet.module.functionalize import TransformedPart
from funcnet.parallel.pipeline.repeat import PipelinedRepeat, pipelines, stage_part

__all__ = ["Reached", "SeveredLoss"]


READ_OUTSIDE = (
    "outside of the pipelined nn.Repeat (in a sum over params, or as an argument of a function under jit or "
    "checkpoint), but each stage holds only its own blocks: leave weight decay to the optimizer, call the net under no "
    "transform, or use jax.value_and_grad of the same net (GPipe)"
)


@dataclass(frozen=True)
class Reached:
    """What reaches the pipelined Repeat: its input, further arguments, a key for each block, and what a block is."""

    input: PyTree
    given: tuple[Any, Any]
    keys: Any
    part: TransformedPart


class Seam(PipelinedRepeat):
    """In the place of the Repeat: calls a function with what reaches it."""

    answer: Callable[[Reached], PyTree]

    def __call__(self, input: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer with whatever the function returns."""
        reached = Reached(input, (args, kwargs), self.keys(self.n), stage_part(self))
        return self.answer(reached)


class OnOtherDevices:
    """In the place of a block's parameter, in code that runs on one stage alone: whatever reads it raises."""

    def __init__(self, path: str) -> None:
        self.path = path

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise: no device holds the parameter whole."""
        raise ValueError(f"the loss reads the parameter {self.path} {READ_OUTSIDE}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = (
        refuse
    )
    __pow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = __getitem__ = refuse

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what an array has, but for what tells that this is none."""
        if name in ("shape", "dtype") or (name.startswith("__") and name != "__jax_array__"):
            raise AttributeError(name)
        self.refuse()


class SeveredLoss:
    """A loss ``loss(net, params, *args, **kwargs)`` in two parts.

    Attributes:
        repeat: the pipelined Repeat of the net's description.
        prefix: how the paths of its blocks' parameters begin.
    """

    def __init__(self, loss: Callable[..., Any], net: Functional, has_aux: bool) -> None:
        self.loss = loss
        self.has_aux = has_aux
        self.pure = net.observable
        found = pipelines(self.pure.node.layout)
        if not found:
            raise ValueError(
                "pipeline_value_and_grad takes a net from parallel.pipeline(net, mesh, path, microbatches=...); this "
                "one has no pipelined nn.Repeat"
            )
        path, self.repeat = next(iter(found.items()))
        self.prefix = f"{path}.module." if path else "module."
        if layout_of(self.repeat).buffers:
            raise ValueError(
                f"the blocks of {path!r} have buffers, which 1F1B does not carry from microbatch to microbatch: use "
                "jax.value_and_grad of the same net (GPipe), or blocks that remember nothing (LayerNorm, GroupNorm)"
            )
        if self.pure.steps:
            raise ValueError(
                "pipeline_value_and_grad cannot see into capture or intervene: give it the net that "
                "parallel.pipeline returned, and return what you want to look at as aux"
            )

    def divide(self, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the blocks' parameters and all others, by dotted path."""
        flat = flatten(params)
        blocks = {path: leaf for path, leaf in flat.items() if path.startswith(self.prefix)}
        return blocks, {path: leaf for path, leaf in flat.items() if path not in blocks}

    def block_params(self, blocks: dict[str, Any]) -> Params:
        """Return the params of one block, or of some that are stacked, from those of `divide`."""
        return nest({path.removeprefix(self.prefix): leaf for path, leaf in blocks.items()})

    def before(self, rest: dict[str, Any], blocks: Any, args: Any, kwargs: Any) -> Reached:
        """Run the loss up to the Repeat; return what reaches it."""
        noted: list[Reached] = []
        outer = trace_state()

        def answer(reached: Reached) -> PyTree:
            if trace_state() != outer:
                raise ValueError(
                    "the loss calls the net inside a transform (jit, grad, scan, checkpoint): with "
                    "pipeline_value_and_grad call it directly, and transform the whole"
                )
            noted.append(reached)
            return reached.input

        self._run(answer, rest, blocks, args, kwargs)
        if len(noted) != 1:
            raise ValueError(
                f"the loss must run the pipelined nn.Repeat once; it did {len(noted)} times: use jax.value_and_grad of "
                "the same net (GPipe)"
            )
        return noted[0]

    def after(
        self, rest: dict[str, Any], blocks: Any, output: PyTree, args: Any, kwargs: Any
    ) -> tuple[Any, Any]:
        """Run the loss with given values for the Repeat's output; return the value and what else it returns."""
        found = self._run(lambda reached: output, rest, blocks, args, kwargs)
        return found if self.has_aux else (found, None)

    def _run(self, answer: Any, rest: dict[str, Any], blocks: Any, args: Any, kwargs: Any) -> Any:
        def severed(old: Any, new: Any) -> Any:
            if old is not self.repeat:
                return new
            seam = object.__new__(Seam)
            vars(seam).update(vars(new), answer=answer)
            return seam

        pure = replace(self.pure, node=snapshot(replaced(self.pure.module, severed)))
        params = nest(rest | {path: OnOtherDevices(path) for path in blocks})
        try:
            return self.loss(Functional(pure.init, pure.apply), params, *args, **kwargs)
        except TypeError as error:
            if OnOtherDevices.__name__ not in str(error):
                raise
            raise ValueError(
                f"the loss hands the blocks' parameters to JAX {READ_OUTSIDE}"
            ) from error
