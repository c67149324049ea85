"""Files damaged at random, and what reading them may cost."""

import random
import time
import tracemalloc

TOKENS = [
    b"0", b"-1", b"1e9", b"18446744073709551616", b"9" * 5000, b"[]", b"{}", b"null", b"true", b"NaN", b"Infinity",
    b'"', b"\\", b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b",", b":", b" ", b"\xff", b"\0", b'"F32"', b'"F4"',
    b'"dtype"', b'"shape"', b'"data_offsets"', b'"weight_map"', b'"../a"', b'"__metadata__"', b"[],", b"0,",
]  # fmt: skip
"""What stands, or should not, in the text of a file."""

ROOM = 1_000_000
"""What reading may take in memory beside twice the file's size: the interpreter's own needs, error messages."""


def damaged_copy(content: bytes, rng: random.Random) -> bytes:
    """Change a few places: flip, cut, insert, repeat, exchange."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, to = sorted(rng.randrange(len(changed) + 1) for _ in range(2))
        near = min(to, at + rng.randrange(12))
        kind = rng.randrange(8)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1 and changed:
            changed[min(at, len(changed) - 1)] = rng.randrange(256)
        elif kind == 2:
            del changed[at:near]
        elif kind == 3:
            del changed[to:]
        elif kind == 4:
            changed[at:near] = rng.choice(TOKENS)
        elif kind == 5 and len(changed) < 10_000:  # files stay small
            changed[at:at] = changed[at:to] * rng.choice((1, 2, 50))
        elif kind == 6:
            changed[at:near] = rng.randbytes(rng.randrange(9))
        else:  # the header keeps its length
            token = rng.choice(TOKENS)[:40]
            changed[at : at + len(token)] = token
    return bytes(changed)


def attempt(read, size, *names):
    """Read a file that may be damaged; return the seconds, or fail if it costs too much or says too little.

    Args:
        read: what is tried.
        size: of the files, in bytes.
        names: one of these has to stand in what is said.
    """
    said = ""
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        arrays = read()
    except ValueError as error:
        arrays, said = {}, str(error)
    seconds = time.perf_counter() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not said or any(name in said for name in names), said
    assert sum(array.nbytes for array in arrays.values()) <= size
    assert peak <= 2 * size + ROOM, f"{peak} bytes for a file of {size}"
    return seconds
