"""Value and gradient of a loss over a pipelined model, forward and backward passes interleaved."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
from jax.sharding import PartitionSpec

from funcnet.core.aliases import Params
from funcnet.core.checks import check_choice
from funcnet.core.paths import nest
from funcnet.module import Functional
from funcnet.parallel.pipeline.gpipe import on_stages
from funcnet.parallel.pipeline.interleaving import Interleaving
from funcnet.parallel.pipeline.loss_arguments import LossArguments
from funcnet.parallel.pipeline.settings import as_names
from funcnet.parallel.pipeline.severed_loss import SeveredLoss
from funcnet.parallel.pipeline.timetables import SCHEDULES, make_timetable
from funcnet.transforms.differentiable_leaves import Pattern, split

__all__ = ["pipeline_value_and_grad"]


def pipeline_value_and_grad(
    loss: Callable[..., Any],
    net: Functional,
    *,
    schedule: str = "1f1b",
    has_aux: bool = False,
    batched: str | Iterable[str] = "batch",
    weight: Callable[[Any], Any] | None = None,
    reduction: str = "mean",
) -> Callable[..., tuple[Any, Params]]:
    r"""Make the function that returns a loss and its gradient, with few microbatches in memory: 1F1B.

    .. math:: \left(\frac{\sum_m w_m f_m(\theta)}{\sum_m w_m},\
        \frac{\sum_m w_m \nabla f_m(\theta)}{\sum_m w_m}\right)

    The gradient of `pipeline`'s model by ``jax.value_and_grad`` (GPipe) keeps what every microbatch leaves for
    the backward pass. Here the backward pass of a microbatch begins as soon as its forward pass ends. A
    stage keeps only the inputs of the microbatches in between, and computes its blocks again from them.

    The loss is written once, as for a model on one device. It is called with the net in parts: up to the
    pipelined nn.Repeat on the first stage, from there on the last. It may do anything outside of the blocks
    (tie the output layer to the embedding, pass values around the blocks), but it runs the Repeat once, reads
    no parameter of its blocks, and calls the net under no transform of its own. Results are those of
    ``fn.value_and_grad(..., microbatches=...)`` of the model that is not divided, dropout masks included.

    Args:
        loss: ``loss(net, params, *args, **kwargs)`` returns a real scalar, the mean over its batch; with
            ``has_aux`` ``(scalar, aux)``.
        net: from `pipeline`.
        schedule: ``"1f1b"``: a stage keeps the inputs of at most as many microbatches as there are stages.
            ``"eager-1f1b"``: of up to twice as many less one; each tick has a forward and a backward pass,
            and there are fewer of them. Which is faster depends on the devices: try it.
        has_aux: whether the loss returns something else, too.
        batched: names of the loss's arguments to cut along their leading axis. Typed random keys among the
            others are folded with the number of the microbatch.
        weight: ``weight(aux)`` is the weight of a microbatch's mean, for losses whose mean is not over as
            many things in each (tokens that are not padding). One of weight zero counts for nothing.
        reduction: ``"sum"`` for a loss that sums over its batch.

    Returns:
        ``value_and_grad(params, *args, **kwargs) -> (value, gradient)``, with ``(value, aux)`` in place of
        ``value`` if ``has_aux``; the ``aux`` of the microbatches come stacked on a new leading axis.

    Raises:
        ValueError: the net has no pipeline, its blocks have buffers, or a setting that is none. When called:
            microbatches do not divide the batch; the loss runs the Repeat never, twice or under a
            transform, or reads its blocks' parameters.
        TypeError: the loss is no real scalar, or what reaches the Repeat are no floats.

    Example:
        >>> mesh = fn.parallel.mesh(stage=1, devices=jax.devices()[:1])
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.Repeat(nn.Linear(4, 4), 2), nn.Linear(4, 2))
        >>> net = fn.parallel.pipeline(fn.functionalize(model), mesh, "1", microbatches=2)
        >>> def loss(net, params, batch):
        ...     logits, _ = net.apply(params, {}, batch["x"])
        ...     return F.cross_entropy(logits, batch["y"])
        >>> value_and_grad = jax.jit(fn.parallel.pipeline_value_and_grad(loss, net))
        >>> params, _ = net.init(jax.random.key(0))
        >>> batch = {"x": jnp.ones((6, 3)), "y": jnp.zeros(6, int)}
        >>> value, grads = value_and_grad(params, batch)
        >>> grads["1"]["module"]["weight"].shape
        (2, 4, 4)

    Reference: Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM,
    2021, https://arxiv.org/abs/2104.04473.
    """
    check_choice("schedule", schedule, SCHEDULES)
    check_choice("reduction", reduction, ("mean", "sum"))
    if weight is not None and not has_aux:
        raise ValueError(
            "weight= reads what the loss returns beside its value: return (loss, aux) and pass has_aux=True"
        )
    severed = SeveredLoss(loss, net, has_aux)
    told = severed.repeat.pipeline
    table = make_timetable(schedule, told.stages, told.microbatches)
    names = as_names(batched)

    def value_and_grad(params: Params, *args: Any, **kwargs: Any) -> tuple[Any, Params]:
        arguments = LossArguments(loss, args, kwargs, names, told)
        blocks, rest = map(split, severed.divide(params))

        def run(blocks_here: Any, rest_here: Any, cut: Any, whole: Any) -> Any:
            stage = Interleaving(
                severed,
                arguments,
                weight,
                blocks=blocks_here[0],
                rest=rest_here[0],
                name_blocks=partial(_joined, blocks[0], blocks_here[1]),
                name_rest=partial(_joined, rest[0], rest_here[1]),
                cut=cut,
                whole=whole,
                table=table,
            )
            return stage.run(reduction == "mean")

        stages, everywhere = told.of_stages, PartitionSpec()
        inputs = (stages, everywhere, told.of_microbatches, everywhere)
        run = on_stages(told, run, inputs, (everywhere, told.of_aux, stages, everywhere))
        value, aux, *grads = run(blocks[1:], rest[1:], arguments.cut, arguments.whole)
        tree = nest(blocks[0].fill(grads[0]) | rest[0].fill(grads[1]))
        aux = jax.tree.map(lambda leaf: leaf[-1], aux)  # the last stage's
        return ((value, aux) if has_aux else value), tree

    return value_and_grad


def _joined(pattern: Pattern, constants: list[Any], moving: list[Any]) -> dict[str, Any]:
    return pattern.join(moving, constants)
