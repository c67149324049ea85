"""Nested lists to arrays and back: exact, or refused with the input's name."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from funcnet.export.serving.formats import array_from_json, inputs_from_json, outputs_to_json
from funcnet.export.serving.refusals import Refusal
from tests.export.serving.services import spec

pytestmark = pytest.mark.smoke

DTYPES = ["?", "i1", "u1", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4))
    )
)
def test_every_array_comes_back_bit_for_bit(array):
    answer = json.loads(outputs_to_json({"y": array}))["outputs"]["y"]
    again = array_from_json(answer, spec(array.shape, array.dtype))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16])
def test_short_floats_come_back_too(dtype):
    array = np.linspace(-3, 3, 12).astype(dtype).reshape(3, 4)
    answer = json.loads(outputs_to_json({"y": array}))["outputs"]["y"]
    assert (array_from_json(answer, spec((3, 4), dtype)) == array).all()


def test_what_is_not_finite_is_text():
    array = np.array([1.5, math.nan, math.inf, -math.inf], np.float32)
    body = outputs_to_json({"y": array})
    assert body == b'{"outputs":{"y":[1.5,"NaN","Infinity","-Infinity"]}}'


WRONG = [
    ([[1, 2], [3]], (2, 2), "f4", "rows of 2 and of 1"),
    ([[1, 2], 3], (2, 2), "f4", "got 3 at depth 1"),
    ([[1, [2]]], (1, 2), "f4", "lists beside numbers"),
    ([1, "a"], (2,), "f4", 'got "a"'),
    ([1, None], (2,), "f4", "got null"),
    ([1, True], (2,), "f4", "got true"),
    ([1, 0], (2,), "?", "booleans, got 1"),
    ([1, 1.5], (2,), "i4", "got 1.5"),
    ([1, "NaN"], (2,), "i4", 'got "NaN"'),
    ([2**31], (1,), "i4", "int32 does not hold it"),
    ([-1], (1,), "u1", "uint8 does not hold it"),
    ([1e39], (1,), "f4", "float32 does not hold it"),
    ([70000.0], (1,), "f2", "float16 does not hold it"),
    ([10**400], (1,), "f4", "beyond 1e308"),
    ([math.inf], (1,), "f4", "beyond 1e308"),  # what 1e400 is read as
    ([{}], (1,), "f4", "got dict"),
]


@pytest.mark.parametrize(("value", "shape", "dtype", "message"), WRONG, ids=[w[3] for w in WRONG])
def test_wrong_values_are_named(value, shape, dtype, message):
    with pytest.raises(Refusal, match="input 'x': expected ") as caught:
        array_from_json(value, spec(shape, dtype))
    assert message in str(caught.value)
    assert caught.value.status == 422
    assert caught.value.content["input"] == "x"


BODIES = [
    (b"", "is not JSON"),
    (b"\xff", "is not JSON"),
    (b'{"inputs": [NaN]}', 'write "NaN", in quotes'),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"inputs": [' + b"1" * 5000 + b"]}", "is not JSON"),
    (b"[1]", "expected a JSON object"),
    (b'{"inputs": [1], "more": 1}', "expected a JSON object"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=[b[1] for b in BODIES])
def test_bodies_that_are_none_are_refused(body, message):
    with pytest.raises(Refusal, match=message) as caught:
        inputs_from_json(body, [spec((1,))])
    assert caught.value.status == 400


def test_a_lone_input_needs_no_name_and_several_do():
    one, two = spec((2,)), spec((1,), name="z")
    assert inputs_from_json(b'{"inputs": [1, 2]}', [one])["x"].tolist() == [1, 2]
    assert inputs_from_json(b'{"inputs": {"x": [1, 2]}}', [one])["x"].tolist() == [1, 2]
    with pytest.raises(Refusal, match="an object with x, z"):
        inputs_from_json(b'{"inputs": [1, 2]}', [one, two])


def test_complex_numbers_have_no_json():
    with pytest.raises(Refusal, match="send safetensors"):
        array_from_json([1], spec((1,), np.complex64))
    with pytest.raises(Refusal, match="ask for safetensors"):
        outputs_to_json({"y": np.zeros(1, np.complex64)})
