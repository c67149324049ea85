"""Safetensors in and out, as the library itself writes and reads them."""

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors

from funcnet.core.safetensors_format import DTYPES
from funcnet.export.serving.formats import arrays_from_bytes, arrays_to_bytes
from funcnet.export.serving.refusals import Refusal

pytestmark = pytest.mark.smoke

KNOWN_BY_OLD_RELEASES = sorted(
    set(DTYPES) & {"BOOL", "I8", "I32", "I64", "U8", "F16", "F32", "F64"}
)


@pytest.mark.parametrize("name", KNOWN_BY_OLD_RELEASES)
def test_the_library_reads_what_is_written_and_writes_what_is_read(name, rng):
    array = rng.integers(0, 2, (3, 1, 2)).astype(DTYPES[name])
    empty = np.zeros((0, 4), DTYPES[name])
    given = {"x": array, "a": empty, "s": array[0, 0, :1].reshape(())}
    for found in (
        safetensors.load(arrays_to_bytes(given)),
        arrays_from_bytes(safetensors.save(given)),
        arrays_from_bytes(arrays_to_bytes(given)),
    ):
        assert found.keys() == given.keys()
        for key, value in given.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key], value)


def test_bfloat16_keeps_its_bits(rng):
    array = rng.normal(size=(4, 4)).astype(ml_dtypes.bfloat16)
    again = arrays_from_bytes(arrays_to_bytes({"x": array}))["x"]
    assert again.dtype == array.dtype
    assert again.tobytes() == array.tobytes()


def test_bytes_that_are_no_file_are_refused(rng):
    whole = arrays_to_bytes({"x": np.zeros(3, np.float32)})
    wrong = [b"", b"{}", whole[:-1], whole + b"x", b"\xff" * 64, whole.replace(b"F32", b"F99")]
    wrong += [whole.replace(b"[0,12]", b"[1,12]"), whole.replace(b'"shape":[3]', b'"shape":[4]')]
    for body in wrong:
        with pytest.raises(Refusal, match="not a safetensors file") as caught:
            arrays_from_bytes(body)
        assert caught.value.status == 400


def test_no_change_of_a_byte_does_more_than_be_refused(rng):
    whole = arrays_to_bytes({"x": np.arange(3, dtype=np.int32), "y": np.zeros((2, 2), np.float16)})
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        try:
            found = arrays_from_bytes(bytes(changed))
        except Refusal:
            continue
        assert all(isinstance(each, np.ndarray) for each in found.values())
