"""Rule sets: the tables of the usual strategies, found by walking a model's layers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from funcnet.core.paths import join, matches
from funcnet.module import Functional, Module
from funcnet.module.description import layout_of
from funcnet.nn.attention.grouped_query import GroupedQueryAttention
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.attention.transformer_layer import TransformerLayer
from funcnet.nn.containers.sequential import Sequential
from funcnet.nn.dropout import Dropout
from funcnet.nn.embedding import Embedding
from funcnet.nn.experts import MixtureOfExperts
from funcnet.nn.linear import Linear
from funcnet.nn.normalization.layer import LayerNorm, RMSNorm
from funcnet.parallel.rules.places import SMALLEST, Copies, Fsdp, Output, copies, fsdp, output
from funcnet.parallel.rules.table import Rules

__all__ = [
    "data_parallel",
    "expert_parallel",
    "fully_sharded",
    "sequence_parallel",
    "tensor_parallel",
]

AnyModel = Module | Functional


def data_parallel() -> dict[str, Any]:
    """Return the rules of data parallelism: none, so that every device holds the whole model.

    The batch alone is spread, by `batch_sharding`; each gradient is summed over devices. PyTorch's
    DistributedDataParallel.

    Example:
        >>> fn.parallel.data_parallel()
        {}
    """
    return {}


def fully_sharded(beside: Rules | None = None, *, smallest: int = SMALLEST) -> dict[str, Any]:
    """Return the rules of fully sharded data parallelism: every array in parts over the data axis.

    Weights are gathered where they are used and gradients come back in parts, so that a device holds one n-th of
    parameters, gradients and optimizer state. PyTorch's FSDP.

    Args:
        beside: rules that spread arrays over other axes, such as those of `tensor_parallel`.
        smallest: arrays of fewer numbers (of one layer) stay whole.

    Returns:
        Rules for `shard`.

    Example:
        >>> fn.parallel.fully_sharded({"*.up.weight": ("model", None)})
        {'*.up.weight': fsdp(('model',)), '*': 'fsdp'}

    Reference: Rajbhandari et al., ZeRO, 2020, https://arxiv.org/abs/1910.02054
    """

    def further(place: Any) -> Any:
        if isinstance(place, Output | Fsdp) or place == "fsdp":
            return place
        if isinstance(place, Copies):
            return replace(place, place=further(place.place))
        return fsdp(place, smallest=smallest)

    table = {pattern: further(place) for pattern, place in (beside or {}).items()}
    return table if "*" in table else table | {"*": fsdp(smallest=smallest)}


def tensor_parallel(
    model: AnyModel, axis: str = "model", *, vocabulary: bool = True
) -> dict[str, Any]:
    """Return Megatron's rules: of two linear maps in a row, the first by its rows and the second by its columns.

    So each device computes some heads of an attention, and some features of a feed-forward block, from start to
    end, and one sum over devices follows each block. Known are `nn.MultiheadAttention`, `nn.GroupedQueryAttention`,
    the layers of `nn.Transformer`, two `nn.Linear` in an `nn.Sequential` with only activations and dropout between
    them, and `nn.Embedding`, by vocabulary. For other layers add rules: ``{"*.up.weight": ("model", None), ...}``.
    `nn.MultiheadAttention` has one weight for queries, keys and values, whose parts do not end where these do: XLA
    then moves some of them between neighbours, which `nn.GroupedQueryAttention` does without.

    Args:
        model: a description, or what `functionalize` returned.
        axis: of the mesh.
        vocabulary: whether embeddings are spread; leave them out where the axis does not divide the vocabulary.

    Returns:
        Rules for `shard`.

    Raises:
        ValueError: the model has none of these layers.

    Example:
        >>> fn.parallel.tensor_parallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)))
        {'0.weight': ('model', None), '0.bias': ('model',), '2.weight': (None, 'model')}

    Reference: Shoeybi et al., Megatron-LM, 2019, https://arxiv.org/abs/1909.08053
    """
    layout = layout_of(_description(model))
    found: dict[str, Any] = {}
    for path, module in layout.modules.items():
        if isinstance(module, MultiheadAttention):
            found |= _of_attention(path, axis)
        elif isinstance(module, Embedding) and vocabulary:
            found[join(path, "weight")] = (axis, None)
        for first in _maps(module)[0]:  # weights are stored with outputs first
            found |= {join(path, first, "weight"): (axis, None), join(path, first, "bias"): (axis,)}
        for second in _maps(module)[1]:  # its bias, added after the sum over devices, stays whole
            found[join(path, second, "weight")] = (None, axis)
    found = {name: place for name, place in found.items() if name in layout.specs}
    if not found:
        raise ValueError(
            f"tensor_parallel finds no layer that it knows in {type(_description(model)).__name__}: write rules, the "
            f"first of two linear maps by rows and the second by columns: {{'*.up.weight': ({axis!r}, None), "
            f"'*.down.weight': (None, {axis!r})}}"
        )
    return found


def _of_attention(path: str, axis: str) -> dict[str, Any]:
    weights = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    table: dict[str, Any] = {join(path, name): (axis, None) for name in weights}
    table[join(path, "in_proj_bias")] = (axis,)
    table |= {join(path, name): (None, None, axis) for name in ("bias_k", "bias_v")}
    return table | {join(path, "out_proj.weight"): (None, axis)}


def _maps(module: Any) -> tuple[list[str], list[str]]:
    """List the linear maps of a module that come first in a block, and those that come second, by name."""
    if isinstance(module, GroupedQueryAttention):
        return ["q_proj", "k_proj", "v_proj"], ["o_proj"]
    if isinstance(module, TransformerLayer):
        return ["linear1"], ["linear2"]
    pairs = list(_pairs(module)) if isinstance(module, Sequential) else []
    return [first for first, _ in pairs], [second for _, second in pairs]


def _pairs(module: Sequential) -> Iterator[tuple[str, str]]:
    """List pairs of linear maps that only activations and dropout part."""
    first = None
    for name, part in ((str(number), part) for number, part in enumerate(module)):
        if isinstance(part, Linear):
            if first is not None:
                yield first, name
            first = None if first is not None else name
        elif not _is_elementwise(part):
            first = None


def _is_elementwise(part: Any) -> bool:
    return isinstance(part, Dropout) or type(part).__module__.startswith("funcnet.nn.activations.")


def sequence_parallel(
    model: AnyModel,
    axis: str = "model",
    *,
    batch: str | tuple[str, ...] | None = "data",
    batch_first: bool = True,
    modules: str = "*",
) -> dict[str, Any]:
    """Return the rules of sequence parallelism: between blocks, values are spread along the sequence.

    Between the blocks that `tensor_parallel` spreads by features, norms, dropout and residuals are then computed for a
    part of the sequence by each device, and less is kept for the backward pass; join the two by `join_rules`. What
    norms and second linear maps of blocks return is spread along the sequence, what first ones return by features.

    Args:
        model: a description, or what `functionalize` returned.
        axis: of the mesh, for the sequence.
        batch: axis, or axes, for the batch; None to leave it whole.
        batch_first: whether values are ``(batch, sequence, features)``. Layers of `nn.Transformer` know themselves.
        modules: a glob on the modules' paths, to choose among them.

    Returns:
        Rules for `shard`, of every `nn.LayerNorm` and `nn.RMSNorm` and of the layers that `tensor_parallel` knows.

    Raises:
        ValueError: no norm is found.

    Example:
        >>> block = nn.Sequential(nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)))
        >>> for pattern, place in fn.parallel.sequence_parallel(block).items():
        ...     print(pattern, place)
        0 output('data', 'model', None)
        1.0 output('data', None, 'model')
        1.2 output('data', 'model', None)

    Reference: Korthikanti et al., Reducing Activation Recomputation, 2022, https://arxiv.org/abs/2205.05198
    """
    layout = layout_of(_description(model))
    found: dict[str, Any] = {}
    known = {path: m for path, m in layout.modules.items() if isinstance(m, TransformerLayer)}

    def along(path: str, sequence: str | None, features: str | None) -> None:
        layer = known.get(path.rpartition(".")[0])
        batched = batch_first if layer is None else layer.self_attn.batch_first
        leading = (batch, sequence) if batched else (sequence, batch)
        if matches(modules, path):
            found[path] = output(*leading, features)

    for path, module in layout.modules.items():
        if isinstance(module, LayerNorm | RMSNorm | MultiheadAttention):
            along(path, axis, None)
        for first in _maps(module)[0]:
            along(join(path, first), None, axis)
        for second in _maps(module)[1]:
            along(join(path, second), axis, None)
    if not found:
        raise ValueError(
            f"sequence_parallel finds no norm that {modules!r} matches in {type(_description(model)).__name__}: write "
            f"rules for outputs: {{'*.norm': parallel.output({batch!r}, {axis!r}, None)}}"
        )
    return found


def expert_parallel(model: AnyModel, axis: str = "expert") -> dict[str, Any]:
    """Return the rules of expert parallelism: the experts of each `nn.MixtureOfExperts` are shared out among devices.

    Args:
        model: a description, or what `functionalize` returned.
        axis: of the mesh; also that of the data.

    Returns:
        Rules for `shard`.

    Raises:
        ValueError: the model has no mixture of experts.

    Example:
        >>> expert = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        >>> fn.parallel.expert_parallel(nn.Sequential(nn.MixtureOfExperts(expert, 8, 4)))
        {'0.experts.*': copies('expert', ())}

    Reference: Lepikhin et al., GShard, 2020, https://arxiv.org/abs/2006.16668
    """
    modules = layout_of(_description(model)).modules
    found = {
        join(path, "experts.*"): copies(axis)
        for path, module in modules.items()
        if isinstance(module, MixtureOfExperts)
    }
    if not found:
        raise ValueError(
            f"expert_parallel finds no nn.MixtureOfExperts in {type(_description(model)).__name__}: for copies of "
            f"other layers write {{'*.copies.*': parallel.copies({axis!r})}}"
        )
    return found


def _description(model: AnyModel) -> Module:
    return model.module if isinstance(model, Functional) else model
