"""The streams that `torch.save` wrote before version 1.6: five pickles, then the storages one after the other."""

from funcnet.checkpoint.files.pickle_machine import PickleMachine
from funcnet.checkpoint.files.pytorch_names import machine_for
from funcnet.checkpoint.files.pytorch_records import Extent, Storage, Unpacked

__all__ = ["MAGIC_BYTES", "read_legacy"]

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
"""How a pickle holds the number that such files begin with."""

PROTOCOL = 1001


def read_legacy(stream: memoryview, room: int) -> Unpacked:
    """Read the pickles of a stream, and find where its storages lie.

    Args:
        stream: the bytes of the file.
        room: how many bytes the objects made of it may take.

    Raises:
        ValueError: it is no whole stream of PyTorch.
    """
    storages: dict[str, Storage] = {}
    machine = machine_for(stream, room, storages)
    at = _expect(machine, 0, MAGIC, "the number that such files begin with")
    at = _expect(machine, at, PROTOCOL, "the number of the one known format")
    _, at = machine.run(
        at
    )  # what the writing machine was like; the storages are little-endian on all
    tree, at = machine.run(at)
    keys, at = machine.run(at)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ValueError("the storages that follow are not those that the tensors need")
    extents, at = _extents(stream, at, [storages[key] for key in keys])
    if at != len(stream):
        raise ValueError(f"{len(stream) - at} bytes lie behind the last storage")
    return Unpacked(tree, extents, machine.steps, machine.foreign)


def _expect(machine: PickleMachine, at: int, expected: int, what: str) -> int:
    """Run a pickle that has to hold a number, and return the byte behind it."""
    value, end = machine.run(at)
    if value != expected:
        raise ValueError(f"{what} is missing")
    return end


def _extents(stream: memoryview, at: int, storages: list[Storage]) -> tuple[dict[str, Extent], int]:
    """Follow the storages, each behind the number of its elements."""
    extents: dict[str, Extent] = {}
    for storage in storages:
        numel = int.from_bytes(stream[at : at + 8], "little", signed=True)
        if numel != storage.numel:
            raise ValueError(
                f"storage {storage.key!r} has {numel} elements, where its tensors say {storage.numel}"
            )
        extents[storage.key] = Extent(at + 8, storage.nbytes)
        at += 8 + storage.nbytes
    if at > len(stream):
        raise ValueError("the file is cut off: its storages go beyond its end")
    return extents, at
