"""Files of torch.save with random damage: each is read or refused, quickly and in little memory.

``python -m tests.checkpoint.pytorch_damage 100000`` tries so many, and prints the slowest and the largest.
"""

import random
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

from funcnet.checkpoint.files.pytorch_file import PytorchFile
from tests.checkpoint.make_pytorch_files import FOLDER
from tests.checkpoint.pytorch_assembly import archive, outcome

SEEDS = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.pt"))}

NUMBERS = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]

CODES = bytes(range(128, 152)) + b"()]}.NJKMGXUTCBtaesuqrhjcRbQ"


def damaged(raw: bytes, random: random.Random) -> bytes:
    """Damage bytes in one to four places."""
    out = bytearray(raw)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at = random.randrange(len(out) + 1)
        end = min(len(out), at + random.choice([1, 1, 2, 4, 8, 50, 500]))
        other = random.randrange(len(out) + 1)
        kind = random.randrange(9)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << random.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = random.randrange(256)
        elif kind == 2:
            del out[at:end]
        elif kind == 3:
            out[at:at] = random.randbytes(end - at)
        elif kind == 4:
            out[other:other] = out[at:end]
        elif kind == 5:
            out[at:end] = out[other : other + end - at]
        elif kind == 6:
            number = random.choice(NUMBERS) % 2**64
            wide = random.choice([1, 2, 4, 8])
            out[at : at + wide] = struct.pack("<Q", number)[:wide]
        elif kind == 7:
            out[at : at + random.randrange(2)] = bytes([random.choice(CODES)])
        elif random.randrange(4) == 0:
            del out[at:]
    return bytes(out)


def write_damaged(path: Path, random: random.Random) -> str:
    """Write a damaged file: damaged anywhere, or in its pickle alone, which then has the right sum."""
    name = random.choice(list(SEEDS))
    raw = SEEDS[name]
    if "zip" not in name or random.randrange(3) == 0:
        path.write_bytes(damaged(raw, random))
        return name
    program, storages = parts_of(name)
    archive(path, damaged(program, random), storages)
    return f"pickle of {name}"


@cache
def parts_of(name: str) -> tuple[bytes, dict[str, bytes]]:
    """Take an archive apart: its pickle and its storages."""
    with zipfile.ZipFile(FOLDER / name) as file:
        entries = {entry.partition("/")[2]: file.read(entry) for entry in file.namelist()}
    storages = {k.removeprefix("data/"): v for k, v in entries.items() if k.startswith("data/")}
    return entries["data.pkl"], storages


def read_all(path: Path, name: str) -> bool:
    """Read a file as a whole, and array by array; say whether it was read."""
    select = "good" if "refused" in name else None
    whole = outcome(path, select=select)
    try:
        with PytorchFile(path, select) as file:
            for stored in file.values():
                stored.read()
                stored.view().tobytes()
    except ValueError as error:
        if not str(error).startswith(f"{path}: "):
            raise
    # what the one refuses the other may have: a name twice, or an array too large beside others
    return not isinstance(whole, ValueError)


def excess_of(path: Path, name: str) -> int:
    """Tell how many bytes beyond twice the file's size reading took."""
    tracemalloc.start()
    try:
        outcome(path, select="good" if "refused" in name else None)
        return tracemalloc.get_traced_memory()[1] - 2 * path.stat().st_size
    finally:
        tracemalloc.stop()


def main(count: int) -> None:
    """Try many files."""
    seen: Counter[str] = Counter()
    slowest, largest = (0.0, 0), (-(2**60), 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.pt"
        for index in range(count):
            name = write_damaged(path, random.Random(index))
            begin = time.process_time()
            try:
                seen[f"{name}: {'read' if read_all(path, name) else 'refused'}"] += 1
                slowest = max(slowest, (time.process_time() - begin, index))
                if index % 5 == 0:
                    largest = max(largest, (excess_of(path, name), index))
            except Exception as error:
                print(f"{index}: {name}: {type(error).__name__}: {error}", flush=True)
                seen[f"{name}: {type(error).__name__}"] += 1
            if index % 5000 == 0:
                print(index, slowest, largest, flush=True)
    print(f"slowest: {slowest[0]:.3f} s of CPU (file {slowest[1]})")
    print(f"largest: {largest[0]:,} bytes beyond twice the file's size (file {largest[1]})")
    for name, number in sorted(seen.items()):
        print(f"{number:7} {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
