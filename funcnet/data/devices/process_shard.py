"""Which part of every batch belongs to this process."""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from jax.sharding import NamedSharding, Sharding

__all__ = ["Shard", "process_shard", "row_blocks", "row_sharding"]

Shard: TypeAlias = 'tuple[int, int] | Literal["process"] | Sharding'
"""What a loader takes: a part by numbers, that of this process, or that which a sharding gives it."""


def process_shard(shard: Any) -> tuple[int, int]:
    """Return ``(index, count)``: which of how many equal parts of every batch this process loads.

    JAX is imported only if it is asked, and by the process that makes the loader alone: never by workers.

    Args:
        shard: a pair, which is returned as it is; ``"process"``: one part for each process; or a
            ``jax.sharding.Sharding`` of batches: processes whose devices hold the same rows load the same part.

    Raises:
        ValueError: another word, or a sharding under which processes hold rows that overlap without being equal.

    Example:
        >>> from funcnet.data.devices.process_shard import process_shard
        >>> process_shard((1, 4)), process_shard("process")
        ((1, 4), (0, 1))
    """
    if isinstance(shard, str):
        if shard != "process":
            raise ValueError(
                f'shard is (index, count), "process" or the sharding of batches; got {shard!r}'
            )
        import jax

        return jax.process_index(), jax.process_count()
    if not hasattr(shard, "device_set"):
        return shard
    blocks = row_blocks(shard)
    import jax

    mine = blocks[jax.process_index()]
    parts = sorted(set(blocks.values()), key=min)
    if sum(map(len, parts)) != len(set().union(*parts)) or len(set(map(len, parts))) > 1:
        raise ValueError(
            f"{shard} gives processes rows that overlap, or different numbers of rows, so that no equal parts can be "
            "loaded: give the axis of the batch devices of whole processes"
        )
    return parts.index(mine), len(parts)


def row_sharding(sharding: Any) -> "NamedSharding | None":
    """Return how a sharding spreads the first axis, alone; None for one that does not say it by names."""
    from jax.sharding import NamedSharding, PartitionSpec

    if not isinstance(sharding, NamedSharding):
        return None
    first = sharding.spec[0] if len(sharding.spec) else None
    return NamedSharding(sharding.mesh, PartitionSpec(first))


def row_blocks(sharding: Any) -> dict[int, frozenset[int]]:
    """Return for each process which blocks of rows its devices hold.

    Example:
        >>> from funcnet.data.devices.process_shard import row_blocks
        >>> rows = jax.NamedSharding(fn.parallel.mesh(data=-1), jax.P("data"))
        >>> len(row_blocks(rows)[0]) == jax.device_count()
        True
    """
    rows = row_sharding(sharding)
    if rows is None:
        return {device.process_index: frozenset([0]) for device in sharding.device_set}
    axes = rows.spec[0] or ()
    count = 1
    for name in (axes,) if isinstance(axes, str) else axes:
        count *= rows.mesh.shape[name]
    held: dict[int, set[int]] = {}
    for device, (block,) in rows.devices_indices_map((count,)).items():
        held.setdefault(device.process_index, set()).update(range(count)[block])
    return {process: frozenset(blocks) for process, blocks in held.items()}
