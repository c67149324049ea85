"""Rows are joined and padded where that changes nothing, and nowhere else."""

import numpy as np
import pytest

from funcnet.export.records import FunctionRecord, ProgramRecord
from funcnet.export.serving.programs import batches_of, other_sizes
from funcnet.export.serving.signature import FunctionSignature
from tests.export.serving.services import double, served, spec

pytestmark = pytest.mark.smoke

ROWS = ("batch", 3)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 17])
def test_any_number_of_rows_runs_on_the_programs_that_there_are(rows, rng):
    function, counted = double()
    function.warm([{}])
    compiled = list(counted.compiled)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    (y,) = function.run([x], {"batch": rows})
    np.testing.assert_array_equal(y, 2 * x)
    assert counted.compiled == compiled
    assert sorted(each["batch"] for each in compiled) == [1, 4, 8]


DEPEND = {
    "a mean over rows": lambda x: x - x.mean(0),
    "the order of rows": lambda x: np.cumsum(x, 0),
    "the number of rows": lambda x: x * len(x),
    "odd and even": lambda x: x if len(x) % 2 else x + 1,
    "neighbours": lambda x: np.roll(x, 1, 0),
}


@pytest.mark.parametrize("why", DEPEND)
@pytest.mark.parametrize("batches", [(1, 4, 8), (8,)])
def test_rows_that_depend_on_each_other_are_left_alone(why, batches, rng, caplog):
    if batches == (8,) and why in {"the number of rows", "odd and even"}:
        batches = (7, 8)
    function, counted = served(DEPEND[why], [spec(ROWS)], [spec(ROWS, name="y")], batches)
    function.warm([{}])
    assert not function.joins
    assert "rows of a batch depend on each other" in caplog.text
    x = rng.normal(size=(3, 3)).astype(np.float32)
    np.testing.assert_array_equal(function.run([x], {"batch": 3})[0], DEPEND[why](x))
    assert counted.calls[-1] == {"batch": 3}


def test_rounding_is_no_dependence():
    function, _ = served(
        lambda x: x * np.float32(1 + 1e-6 * len(x)), [spec(ROWS)], [spec(ROWS, name="y")]
    )
    function.warm([{}])
    assert function.joins


def test_whole_numbers_and_short_floats_are_probed():
    import ml_dtypes

    function, _ = served(
        lambda ids, x: (ids + 1, x + x),
        [spec(("batch",), np.int32, "ids"), spec(ROWS, ml_dtypes.bfloat16)],
        [spec(("batch",), np.int32, "more"), spec(ROWS, ml_dtypes.bfloat16, "y")],
    )
    function.warm([{}])
    assert function.joins


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch"),
    [
        ([("batch", 3)], [("batch",)], "batch"),
        ([("n", 3), ("n",)], [("n", "time")], "n"),
        ([("batch", 3), ()], [("batch",)], None),
        ([("batch", 3)], [("batch",), (3,)], None),
        ([("batch", 3)], [("2*batch",)], None),
        ([("batch", "batch")], [("batch",)], None),
        ([("batch", 3)], [("batch", "batch + 1")], None),
        ([("batches", "batch")], [("batches",)], "batches"),
        ([(4, 3)], [(4,)], None),
    ],
)
def test_the_batch_is_the_first_length_of_everything_and_of_nothing_else(inputs, outputs, batch):
    record = record_of(map(spec, inputs), map(spec, outputs), [])
    assert FunctionSignature.of("call", record).batch == batch


def record_of(inputs, outputs, sizes, symbols=("batch",)):
    programs = tuple(ProgramRecord(f"{i}", "cpu", each, True) for i, each in enumerate(sizes))
    return FunctionRecord(
        (), 0, tuple(inputs), tuple(outputs), symbols, None, None, False, programs
    )


@pytest.mark.parametrize(
    ("sizes", "asked", "chosen"),
    [
        ([None, {"batch": 1}, {"batch": 32}], None, [1, 2, 4, 8, 16, 32]),
        ([None, {"batch": 1}], None, [1, 2, 4, 8, 16, 32]),
        ([None, {"batch": 1}, {"batch": 6}], None, [1, 2, 4, 6]),
        ([{"batch": 1}, {"batch": 32}], None, [1, 32]),
        ([None], (5, 1), [1, 5]),
        ([{"batch": 1}, {"batch": 32}], (32,), [32]),
    ],
)
def test_batches_are_those_of_the_artifact(sizes, asked, chosen):
    assert batches_of(record_of([], [], sizes), "batch", asked) == chosen


def test_a_batch_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no program for batches of 5: the artifact has \\[1\\]"):
        batches_of(record_of([], [], [{"batch": 1}]), "batch", (1, 5))


def test_other_lengths_are_prepared_where_there_are_programs_for_them():
    sizes = [None, {"batch": 1, "time": 8}, {"batch": 4, "time": 8}, {"batch": 1, "time": 2}]
    record = record_of([], [], sizes, ("batch", "time"))
    assert other_sizes(record, "batch") == [{"time": 8}, {"time": 2}]
    assert other_sizes(record_of([], [], [None, {"batch": 1}]), "batch") == [{}]
    assert other_sizes(record_of([], [], [None], ("batch", "time")), "batch") == []


def test_lengths_that_were_not_prepared_are_compiled_once_and_the_oldest_forgotten():
    shape = ("batch", "time")
    function, counted = served(
        lambda x: x + 1, [spec(shape)], [spec(shape, name="y")], batches=(1, 2), keep=2
    )
    function.warm([{"time": 3}])
    for time in (5, 6, 5, 7, 5, 6, 3):
        x = np.ones((1, time), np.float32)
        assert (function.run([x], {"batch": 1, "time": time})[0] == 2).all()
    later = [each["time"] for each in counted.compiled if each["time"] != 3]
    assert later == [5, 6, 7, 6]
    assert [each for each in counted.compiled if each["time"] == 3] == [
        {"batch": 2, "time": 3},
        {"batch": 1, "time": 3},
    ]


def test_a_function_without_open_lengths_runs_as_it_is():
    function, counted = served(lambda x: 2 * x, [spec((3,))], [spec((3,))], batches=(), batch=None)
    function.warm([{}])
    assert not function.joins
    assert function.run([np.ones(3, np.float32)], {})[0].tolist() == [2, 2, 2]
    assert counted.compiled == [{}]


def test_a_program_that_gives_another_shape_is_no_answer():
    function, _ = served(lambda x: x[:, :2], [spec(ROWS)], [spec(ROWS, name="y")])
    with pytest.raises(RuntimeError, match="y came as"):
        function.warm([{}])
