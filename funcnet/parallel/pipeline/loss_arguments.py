"""The arguments of a loss: which are cut into microbatches, and what each microbatch is called with."""

from collections.abc import Callable, Iterable
from typing import Any

import jax

from funcnet.core.aliases import Array
from funcnet.parallel.pipeline.microbatches import is_array, slice_at
from funcnet.parallel.pipeline.settings import PipelineSettings, parameter_names
from funcnet.transforms.differentiable_leaves import is_typed_key

__all__ = ["LossArguments"]


class LossArguments:
    """One call's arguments after the params, as arrays that a transform can be given.

    Attributes:
        cut: arrays with a leading axis of microbatches, by number.
        whole: arrays that every microbatch is given, by number.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any],
        batched: Iterable[str],
        told: PipelineSettings,
    ) -> None:
        self.told = told
        names = parameter_names(loss)[0][2:]  # after the net and its params
        named = dict(zip(names, args, strict=False)) | kwargs
        for name in batched:
            if name not in named:
                raise ValueError(
                    f"pipeline_value_and_grad cuts the argument {name!r} into microbatches, and this call has none; it "
                    f"has {', '.join(named) or 'no argument but params'}: name the batch by batched="
                )
        cut = {name: told.cut(name, named[name]) for name in batched}
        args = [cut.get(name, arg) for name, arg in zip(names, args, strict=False)] + list(
            args[len(names) :]
        )
        kwargs = {name: cut.get(name, arg) for name, arg in kwargs.items()}
        self.leaves, self.tree = jax.tree.flatten((args, kwargs))
        of_batch = {id(leaf) for leaf in jax.tree.leaves(cut)}
        arrays = {str(i): leaf for i, leaf in enumerate(self.leaves) if is_array(leaf)}
        self.cut = {i: leaf for i, leaf in arrays.items() if id(leaf) in of_batch}
        self.whole = {i: leaf for i, leaf in arrays.items() if i not in self.cut}

    def of(
        self, cut: dict[str, Array], whole: dict[str, Array], micro: Array
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a microbatch; single random keys are folded with its number."""
        number = self.told.number(micro)
        own = slice_at(cut, micro) | {
            i: jax.random.fold_in(leaf, number) if is_typed_key(leaf) and not leaf.ndim else leaf
            for i, leaf in whole.items()
        }
        return self.tree.unflatten(own.get(str(i), leaf) for i, leaf in enumerate(self.leaves))
