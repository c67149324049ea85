"""Pickles that lie about lengths, sizes and depths: refused before anything is made of it."""

import struct
import tracemalloc

import numpy as np
import pytest

from funcnet.checkpoint.files.pytorch_file import PytorchFile, read_pytorch
from tests.checkpoint.pytorch_assembly import (
    FOUR,
    archive,
    dictionary,
    legacy,
    numbers,
    pickled,
    refuse,
    storage,
    tensor,
    text,
)

GOOD = tensor()

FORMS = {"zip": archive, "legacy": legacy}


@pytest.fixture(params=FORMS)
def write(request, tmp_path):
    """Write a pickle of a value to a file of either form."""
    return lambda value: FORMS[request.param](tmp_path / "evil.pt", pickled(value))


BROKEN = {
    "text longer than the file": b"X" + struct.pack("<I", 2**32 - 1),
    "text of 2**63 bytes": b"\x8d" + struct.pack("<Q", 2**63),
    "text of 2**64 - 1 bytes": b"\x8d" + struct.pack("<Q", 2**64 - 1),
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62),
    "a bytearray of 2**62": b"\x96" + struct.pack("<Q", 2**62),
    "a number of 2**31 - 1 bytes": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a number of -1 bytes": b"\x8b" + struct.pack("<i", -1),
    "a number of 300 bytes": b"\x8b" + struct.pack("<i", 300) + b"\x7f" * 300,
    "Python 2's text of -1 bytes": b"T" + struct.pack("<i", -1),
    "a memo that is not there": b"j" + struct.pack("<I", 2**31),
    "the memo of nothing": b"q\0",
    "no mark": b"t",
    "no value": b"",
    "two values": b"NN",
    "a mark left": b"(N",
    "a mark as value": b"(",
    "half a pair": b"}(Nu",
    "a name without end": b"cos" + b"x" * 600,
    "a name that is no text": b"c\xff\xfe\n\xff\n",
    "text that is no text": b"X" + struct.pack("<I", 2) + b"\xff\xff",
    "half a surrogate": b"X" + struct.pack("<I", 3) + b"\xed\xa0\x80",
    "protocol 6": b"\x80\x06N",
    "a number in decimals": b"I12\nN",
    "a number of a million decimals": b"L" + b"9" * 10**6 + b"L\n",
    "an old instance": b"(ios\nsystem\n",
    "an object of an extension": b"\x82\x01",
    "a buffer from outside": b"\x97",
    "a pop": b"N0N",
    "a copy": b"N2",
    "an instruction that does not exist": b"\xfe",
    "the start of a text": b"X\x10",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pickles_are_refused(write, kind):
    refuse(write(BROKEN[kind]))
    refuse(write(dictionary(good=GOOD, evil=BROKEN[kind])))
    refuse(write(dictionary(good=GOOD, evil=BROKEN[kind])), read=PytorchFile, select="good")


def test_a_memo_takes_no_more_than_it_holds(write):
    kept = b"r" + struct.pack("<I", 2**31)
    assert read_pytorch(write(b"](K\1" + kept + b"j" + kept[1:] + b"e")) == [1, 1]


def laughs(count: int, width: int, start: bytes, end: bytes) -> bytes:
    """Containers of the one before, ``width`` times each: few bytes, and exponentially many leaves."""
    program = text("ha") + b"q\0"
    for index in range(count):
        program += (
            start + struct.pack("<BB", ord("h"), index) * width + end + b"q" + bytes([index + 1])
        )
    return program


BOMBS = {
    "tuples": laughs(60, 10, b"(", b"t"),
    "lists": laughs(60, 10, b"](", b"e"),
    "pairs": laughs(98, 2, b"(", b"t"),
    "dicts": b"}q\0" + b"}(K\1h\0K\2h\0uq\0" * 90,
    "a list in itself": b"]q\0h\0a",
    "a dict in itself": b"}q\0K\1h\0s",
    "a tuple in itself, by a list": b"]q\0(h\0tq\1ah\1",
    "10,000 lists deep": b"]" * 10_000 + b"a" * 9_999,
    "10,000 tuples deep": b")" + b"\x85" * 10_000,
    "10,000 dicts deep": b"}K\1" * 10_000 + b"N" + b"s" * 10_000,
    "10,000 marks": b"(" * 10_000 + b"t" * 10_000,
    "a tuple as key, deep": b")" + b"\x85" * 10_000 + b"q\0}h\0Ns",
    "a laughing key": laughs(60, 10, b"(", b"t") + b"q\xc8}h\xc8Ns",
    "long names": b"X" + struct.pack("<I", 9000) + b"k" * 9000 + b"q\0"
    + b"}h\0K\1sq\1](" + b"h\1" * 9000 + b"e",
    "long names, deep": b"X" + struct.pack("<I", 9000) + b"k" * 9000 + b"q\0" + b"K\1"
    + b"q\1}h\0h\1s" * 90,
    "copies of a long text": b"X" + struct.pack("<I", 9000) + b"k" * 9000 + b"q\0"
    + text("latin1") + b"q\1](" + b"c_codecs\nencode\nh\0h\1\x86R" * 9000 + b"e",
    "sets of a long list": b"](" + b"K\1" * 9000 + b"eq\0]("
    + b"c__builtin__\nset\nh\0\x85R" * 9000 + b"e",
    "dicts of a long list": b"](" + b"K\1K\2\x86q\0" + b"h\0" * 9000 + b"eq\1]("
    + b"ccollections\nOrderedDict\nh\1\x85R" * 9000 + b"e",
    "long arguments": b"(" + b"K\1" * 9000 + b"tq\0](" + b"ctorch\nSize\nh\0R" * 9000 + b"e",
    "long sizes": b"(" + b"K\1" * 9000 + b"tq\0](" + b"ctorch\nSize\nh\0\x85R" * 9000 + b"e",
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_before_they_go_off(write, kind):
    path = write(b"](" + BOMBS[kind] + b"e")
    for read in (read_pytorch, PytorchFile):
        tracemalloc.start()
        try:
            refuse(
                path, "within itself|same parts|more memory|is a key|9000 arg|something else", read
            )
            assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
        finally:
            tracemalloc.stop()


def test_the_same_part_may_be_used_as_often_as_it_is_named(write):
    path = write(b"](" + b"(K\1K\2tq\0" + b"h\0" * 1000 + b"e")
    assert read_pytorch(path) == [(1, 2)] * 1001


# ---- tensors that lie ----------------------------------------------------------------------------

# CVE-2026-24747 was, beside others, of storages of another size than told
LIES = {
    "beyond the storage": (tensor((5,)), "element 4 of a storage that has 4"),
    "beyond it by its offset": (tensor((4,), offset=1), "element 4"),
    "beyond it by its strides": (tensor((2, 2), (3, 1)), "element 4"),
    "a huge stride": (tensor((2,), (2**62,)), "element"),
    "a huge offset": (tensor((1,), offset=2**62), "element"),
    "an offset of 70 bits": (tensor((1,), offset=2**70), "offset"),
    "a negative size": (tensor((-1,)), "size"),
    "a negative stride": (tensor((2,), (-1,), offset=3), "stride"),
    "a negative offset": (tensor((1,), offset=-1), "offset"),
    "a product that overflows": (tensor((2**40, 2**40), (0, 0)), "any memory"),
    "a product that overflows to 0": (tensor((2**32, 2**32, 4), (0, 0, 0)), "any memory"),
    "an empty one that overflows": (tensor((0, 2**62, 2**62), (0, 0, 0)), "any memory"),
    "more strides than sizes": (tensor((4,), (1, 1)), "strides"),
    "more axes than arrays have": (tensor((1,) * 40, (1,) * 40), "40 sizes"),
    "a size that is text": (tensor().replace(numbers((4,)), b"(" + text("4") + b"t", 1), "size"),
    "another dtype than stored": (
        tensor(kept=storage(kind=b"ctorch\nDoubleStorage\n")),
        "16 bytes, where 4 elements of float64",
    ),
    "fewer elements than stored": (tensor((2,), kept=storage(numel=2)), "16 bytes, where 2"),
    "more elements than stored": (tensor((4,), kept=storage(numel=2**40)), "16 bytes, where"),
    "a negative number of elements": (tensor(kept=storage(numel=-4)), "no storage"),
    "another dtype in version 3": (
        tensor(version=3, kept=storage(numel=16, kind=b"ctorch.storage\nUntypedStorage\n"),
               more=b"ctorch\nfloat64\n"),
        "element 3 of a storage that has 2",
    ),
    "a storage that is not there": (tensor(kept=storage(key="1")), "lacks its storage"),
    "a storage by a path": (tensor(kept=storage(key="../data.pkl")), "lacks its storage"),
    "part of another storage": (
        tensor(kept=storage(more=b"(" + text("0") + b"K\0K\4t")), "before version 0.4"),
    "conjugated floats": (tensor(more=b"}" + text("conj") + b"\x88s"), "conjugated"),
    "an unknown mark": (tensor(more=b"}" + text("lazy") + b"\x88s"), "'lazy'"),
    "a dtype that NumPy lacks": (
        tensor(kept=storage(kind=b"ctorch\nQInt32Storage\n")), "qint32, which NumPy lacks"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_tensors_that_lie_are_refused(tmp_path, kind):
    lie, message = LIES[kind]
    path = archive(tmp_path / "lie.pt", pickled(dictionary(lie=lie)))
    refuse(path, message)
    refuse(path, message, PytorchFile)


def test_one_element_repeated_to_a_gigantic_array(write):
    """A view of it takes no memory; a copy of it is refused, with the way out."""
    path = write(dictionary(good=GOOD, vast=tensor((2**30, 2**20), (0, 0), offset=3)))
    refuse(path, "far more memory than the file")
    with PytorchFile(path) as file:
        assert file["vast"].view()[7, 7] == 3
        with pytest.raises(ValueError, match=r"(?s)evil\.pt: vast.*use \.view\(\)"):
            file["vast"].read()
        assert file["good"].read().tolist() == [0, 1, 2, 3]


def test_many_arrays_of_the_same_elements(write):
    """Each is small enough; all of them are not."""
    many = {f"x{index}": tensor((2**20, 8 + index), (0, 0)) for index in range(8)}
    refuse(write(dictionary(**many)), "again and again")
    assert read_pytorch(write(dictionary(**many)), select="x0")["x0"].shape == (2**20, 8)


def test_big_endian_numbers(tmp_path):
    swapped = {"0": np.frombuffer(FOUR, "<f4").astype(">f4").tobytes()}
    path = archive(tmp_path / "x.pt", pickled(dictionary(x=GOOD)), swapped, order=b"big")
    assert read_pytorch(path)["x"].tolist() == [0, 1, 2, 3]
    refuse(archive(path, pickled(b"N"), order=b"middle"), "byte order")
