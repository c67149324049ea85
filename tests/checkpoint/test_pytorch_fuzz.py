"""Random damage and random programs: read or refused with the file's name, in little memory, and nothing else.

``--grid=full`` tries 10⁵ damaged files; ``python -m tests.checkpoint.pytorch_damage`` also tells how long they took.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from funcnet.checkpoint.files.pytorch_file import read_pytorch
from tests.checkpoint.pytorch_assembly import (
    archive,
    legacy,
    named,
    number,
    numbers,
    outcome,
    pickled,
    storage,
    tensor,
    text,
)
from tests.checkpoint.pytorch_damage import excess_of, read_all, write_damaged

MOST_EXCESS = 2**20
"""Bytes beyond twice a file's size: what Python's own objects take, where a file is as small as these are."""


def test_damaged_files_are_read_or_refused(tmp_path, request):
    count = 100_000 if request.config.getoption("grid") == "full" else 400
    path = tmp_path / "damaged.pt"
    read = 0
    for index in range(count):
        name = write_damaged(path, random.Random(index))
        read += read_all(path, name)
        if index % 10 == 0:
            assert excess_of(path, name) < MOST_EXCESS, index
    assert 0 < read < count  # the damage is neither all nor nothing


PARTS = [
    *(bytes([code]) for code in b"(tN)]}aesubR.Q"),
    *(bytes([code]) for code in range(0x81, 0x98) if code not in (0x8A, 0x8B, 0x8C, 0x8D, 0x8E)),
    *(b"q" + bytes([place]) for place in range(3)),
    *(b"h" + bytes([place]) for place in range(3)),
    *map(number, (0, 1, 2, 4, -1, 2**31, 2**62, 2**64)),
    *map(text, ("", "0", "a", "a.b", "storage", "cpu", "latin1")),
    *map(numbers, ((), (4,), (2, 2), (2**40, 2**40))),
    *(named("torch._utils", f"_rebuild_tensor_v{version}") for version in (2, 3)),
    named("torch._utils", "_rebuild_parameter"),
    named("torch._tensor", "_rebuild_from_type_v2"),
    named("torch", "Size"),
    named("torch", "float32"),
    named("torch", "FloatStorage"),
    named("collections", "OrderedDict"),
    named("collections", "defaultdict"),
    named("builtins", "set"),
    named("builtins", "list"),
    named("os", "system"),
    storage(),
    tensor(),
    tensor((2**20,), (0,)),
]

programs = st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join)


@given(programs)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_programs(tmp_path, program):
    for write in (archive, legacy):
        path = write(tmp_path / "x.pt", pickled(b"](" + program + b"e"))
        outcome(path)
        outcome(path, select="0*")


@given(programs)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_programs_beside_what_is_good(tmp_path, program):
    """Whatever comes before, the array that is selected is read as it is, or the file is refused."""
    good = b"}(" + text("evil") + program + text("good") + tensor() + b"u"
    made = outcome(archive(tmp_path / "x.pt", pickled(good)), select="good")
    assert isinstance(made, ValueError) or made["good"].tolist() == [0, 1, 2, 3]


@given(st.binary(max_size=300))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_bytes(tmp_path, raw):
    for start in (b"", b"PK\3\4", b"PK\5\6", pickled(number(0x1950A86A20F9469CFC6C))):
        path = tmp_path / "x.pt"
        path.write_bytes(start + raw)
        with pytest.raises(ValueError, match=r"x\.pt: "):
            read_pytorch(path)
