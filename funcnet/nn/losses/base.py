"""What loss layers share: they hold a reduction, and some hold the weights of classes."""

from typing import Any, ClassVar

from funcnet.functional.losses.reductions import resolve_reduction
from funcnet.module import Module
from funcnet.module.precision.policy import ComputesIn
from funcnet.nn.init.from_array import buffer_from_array

__all__ = ["LossLayer", "MarginLossLayer", "WeightedLossLayer"]


class LossLayer(Module):
    """A loss with a reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Every loss takes ``where=``, a mask of the values that count. One without class weights needs no
    parameters and may be called as it is.
    """

    computes_in: ClassVar[ComputesIn] = "float32 result"

    reductions: ClassVar[tuple[str, ...]] = ("none", "mean", "sum")

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        self.reduction = resolve_reduction(reduction, size_average, reduce, self.reductions)


class WeightedLossLayer(LossLayer):
    """A loss whose classes or elements have weights, kept in the state as a buffer."""

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight = buffer_from_array(weight)


class MarginLossLayer(LossLayer):
    """A loss whose first setting is a margin."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin
